// Compiled where libtorch has a CUDA part, so that this is linked: see build.rs.

namespace at::cuda {
int warp_size();
}

namespace {
// As a constructor it is never removed as unused, and neither is the symbol that it names.
__attribute__((constructor, used)) void needs_cuda() {
  static int (*volatile needed)() = &at::cuda::warp_size;
  (void)needed;
}
} // namespace
