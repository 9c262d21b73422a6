//! Unexpected keywords and integers that are too large: our functions and methods name the argument that was meant. PyO3's macros
//! take what they use from here, by `crate = "crate::keywords"`: all of it is PyO3's, but for the description of a function's
//! arguments and their extraction.

pub use pyo3::*;

pub mod impl_ {
    pub use pyo3::impl_::*;

    pub mod extract_argument {
        pub use pyo3::impl_::extract_argument::*;

        use crate::convert::named;
        use pyo3::exceptions::PyTypeError;
        use pyo3::impl_::extract_argument as original;
        use pyo3::prelude::*;
        use pyo3::{Borrowed, ffi};

        pub struct FunctionDescription(original::FunctionDescription);

        type PyArg<'py> = Borrowed<'py, 'py, PyAny>;
        type Arguments<'py, V, K> = (<V as VarargsHandler<'py>>::Varargs, <K as VarkeywordsHandler<'py>>::Varkeywords);

        pub fn extract_argument<'a, 'holder, 'py, T, const B: bool>(
            obj: Borrowed<'a, 'py, PyAny>,
            holder: &'holder mut T::Holder,
            name: &str,
        ) -> PyResult<T>
        where
            T: PyFunctionArgument<'a, 'holder, 'py, B>,
        {
            original::extract_argument(obj, holder, name).map_err(|error| named(error, name, &obj))
        }

        #[inline]
        pub fn extract_required_argument<'a, 'holder, 'py, T, const B: bool>(
            obj: Option<Borrowed<'a, 'py, PyAny>>,
            holder: &'holder mut T::Holder,
            name: &str,
        ) -> PyResult<T>
        where
            T: PyFunctionArgument<'a, 'holder, 'py, B>,
        {
            extract_argument(obj.expect("the description has checked that it is there"), holder, name)
        }

        pub fn extract_argument_with_default<'a, 'holder, 'py, T, const B: bool>(
            obj: Option<Borrowed<'a, 'py, PyAny>>,
            holder: &'holder mut T::Holder,
            name: &str,
            default: fn() -> T,
        ) -> PyResult<T>
        where
            T: PyFunctionArgument<'a, 'holder, 'py, B>,
        {
            obj.map_or_else(|| Ok(default()), |obj| extract_argument(obj, holder, name))
        }

        type Extractor<'a, 'py, T> = fn(&'a Bound<'py, PyAny>) -> PyResult<T>;

        pub fn from_py_with<'a, 'py, T>(obj: &'a Bound<'py, PyAny>, name: &str, take: Extractor<'a, 'py, T>) -> PyResult<T> {
            original::from_py_with(obj, name, take).map_err(|error| named(error, name, obj))
        }

        #[inline]
        pub fn from_py_with_required<'a, 'py, T>(
            obj: Option<&'a Bound<'py, PyAny>>,
            name: &str,
            take: Extractor<'a, 'py, T>,
        ) -> PyResult<T> {
            from_py_with(obj.expect("the description has checked that it is there"), name, take)
        }

        pub fn from_py_with_with_default<'a, 'py, T>(
            obj: Option<&'a Bound<'py, PyAny>>,
            name: &str,
            take: Extractor<'a, 'py, T>,
            default: fn() -> T,
        ) -> PyResult<T> {
            obj.map_or_else(|| Ok(default()), |obj| from_py_with(obj, name, take))
        }

        impl FunctionDescription {
            pub const fn new(
                class: Option<&'static str>,
                name: &'static str,
                positional: &'static [&'static str],
                positional_only: usize,
                required: usize,
                keyword_only: &'static [KeywordOnlyParameterDescription],
            ) -> Self {
                let new = original::FunctionDescription::new;
                FunctionDescription(new(class, name, positional, positional_only, required, keyword_only))
            }

            /// # Safety
            /// As of PyO3's.
            pub unsafe fn extract_arguments_fastcall<'py, V: VarargsHandler<'py>, K: VarkeywordsHandler<'py>>(
                &self,
                py: Python<'py>,
                args: *const *mut ffi::PyObject,
                nargs: ffi::Py_ssize_t,
                names: *mut ffi::PyObject,
                output: &mut [Option<PyArg<'py>>],
            ) -> PyResult<Arguments<'py, V, K>> {
                // SAFETY: the caller's promise.
                let taken = unsafe { self.0.extract_arguments_fastcall::<V, K>(py, args, nargs, names, output) };
                // SAFETY: a tuple that the caller holds, or NULL.
                taken.map_err(|error| self.named::<K>(error, unsafe { Borrowed::from_ptr_or_opt(py, names) }))
            }

            /// # Safety
            /// As of PyO3's.
            pub unsafe fn extract_arguments_tuple_dict<'py, V: VarargsHandler<'py>, K: VarkeywordsHandler<'py>>(
                &self,
                py: Python<'py>,
                args: *mut ffi::PyObject,
                given: *mut ffi::PyObject,
                output: &mut [Option<PyArg<'py>>],
            ) -> PyResult<Arguments<'py, V, K>> {
                // SAFETY: the caller's promise.
                let taken = unsafe { self.0.extract_arguments_tuple_dict::<V, K>(py, args, given, output) };
                // SAFETY: a dict that the caller holds, or NULL.
                taken.map_err(|error| self.named::<K>(error, unsafe { Borrowed::from_ptr_or_opt(py, given) }))
            }

            /// The error for the first name that is none of ours; else the one that there is.
            #[cold]
            fn named<'py, K: VarkeywordsHandler<'py>>(&self, error: PyErr, names: Option<PyArg<'py>>) -> PyErr {
                let takes_any = size_of::<K::Varkeywords>() > 0;
                let Some(names) = names.filter(|_| !takes_any) else { return error };
                self.unknown(&names).map_or_else(|e| e, |text| text.map_or(error, PyTypeError::new_err))
            }

            fn unknown(&self, names: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
                let of = &self.0;
                let keyword_only = of.keyword_only_parameters.iter().map(|p| p.name);
                let all: Vec<&str> = of.positional_parameter_names.iter().copied().chain(keyword_only).collect();
                for name in names.try_iter()? {
                    let name: String = name?.extract()?;
                    if !all.contains(&&*name) {
                        let title =
                            if of.func_name.starts_with("__") { of.cls_name.unwrap_or(of.func_name) } else { of.func_name };
                        let known = &all[of.positional_only_parameters..];
                        let names = names.py().import("fluxrs.names")?;
                        return names.getattr("unknown")?.call1((title, name, known.to_vec()))?.extract().map(Some);
                    }
                }
                Ok(None)
            }
        }
    }
}
