// Numbers at equal distances, or a last one of its own. The op gives value(i, first, step).

fn item(i: u32) {
    if (args.ends == 1u && i + 1u == args.items) {
        out(i, args.last);
    } else {
        out(i, bitcast<u32>(value(i, bitcast<out_type>(args.first), bitcast<out_type>(args.step))));
    }
}
