"""Every public name has a docstring, and the examples in it are right."""

import doctest
import inspect

import pytest

import fluxrs

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def ours(x):
    module = getattr(x, "__module__", "") or ""
    return module.startswith("fluxrs") and not inspect.isbuiltin(x)


NAMES = sorted(n for n in fluxrs.__all__ if callable(getattr(fluxrs, n)))
WRITTEN_HERE = [n for n in NAMES if ours(getattr(fluxrs, n))]
NO_EXAMPLE = {"load", "save_weights", "testmode", "cpu", "gpu"} | {
    n for n in NAMES if isinstance(getattr(fluxrs, n), type)
}


@pytest.mark.parametrize("name", NAMES)
def test_has_a_docstring(name):
    assert inspect.getdoc(getattr(fluxrs, name))


@pytest.mark.parametrize("name", WRITTEN_HERE)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thing = getattr(fluxrs, name)
    tests = doctest.DocTestFinder(recurse=False).find(
        thing, name, globs={**vars(fluxrs), "fluxrs": fluxrs}
    )
    runner, said = doctest.DocTestRunner(optionflags=FLAGS), []
    for test in tests:
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
    if inspect.isfunction(thing) and name not in NO_EXAMPLE:
        assert runner.tries > 0, f"{name} has no example"


def test_the_public_names_leave_pythons_own_alone():
    import builtins

    assert not set(fluxrs.__all__) & set(dir(builtins))
    assert len(set(fluxrs.__all__)) == len(fluxrs.__all__)
    for name in ("sum", "max", "abs", "all"):
        assert callable(getattr(fluxrs, name))


@pytest.mark.parametrize("name, section", fluxrs._core.reference())
def test_a_function_of_the_reference_says_what_it_gives(name, section):
    """The table of elementwise ops speaks for its functions; the others have an example, which the page runs."""
    assert section == "Elementwise" or "\n>>> " in getattr(fluxrs._core, name).__doc__
