#error libtorch was not found. Run `cargo xtask libtorch` once, then build again; `cargo xtask doctor` tells more.
