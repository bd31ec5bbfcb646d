#error libtorch was not found. Run `cargo xtask libtorch` once, then build again; `cargo xtask doctor` tells more.
// A missing header is fatal at once; without it, thousands of lines on what else misses libtorch would follow.
#include "libtorch (run `cargo xtask libtorch` first)"
