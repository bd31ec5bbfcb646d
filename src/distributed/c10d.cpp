// The distributed part of libtorch, c10d, behind functions of C: see `mod.rs`, `ffi.rs`.
//
// No exception leaves a function that Rust calls.

#define USE_DISTRIBUTED
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef SOFT_LMCCL_NCCL
#define USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <cstdio>
#include <cstdlib>
#include <cstring>

using at::Tensor;
using std::chrono::milliseconds;

namespace {

enum { DONE = 0, FAILED = 1, PENDING = 2 };
enum { ALL_REDUCE_SUM = 0, ALL_REDUCE_MAX = 1, ALL_GATHER = 2, ALL_TO_ALL = 3, BROADCAST = 4 };

template <typename Work>
int guarded(char* message, int room, Work work) {
  try {
    return work();
  } catch (const std::exception& error) {
    std::snprintf(message, room, "%s", error.what());
  } catch (...) {
    std::snprintf(message, room, "an exception that is none of libtorch's");
  }
  return FAILED;
}

using Store = c10::intrusive_ptr<c10d::Store>;
using Backend = c10::intrusive_ptr<c10d::Backend>;
using Work = c10::intrusive_ptr<c10d::Work>;

c10d::Store& store_of(void* store) {
  return **static_cast<Store*>(store);
}

std::vector<uint8_t> bytes_of(const char* bytes, int64_t length) {
  return std::vector<uint8_t>(bytes, bytes + length);
}

// The address that the other ranks are told of.
std::shared_ptr<gloo::transport::Device> device(const char* master) {
  if (const char* interface = std::getenv("GLOO_SOCKET_IFNAME"))
    return c10d::ProcessGroupGloo::createDeviceForInterface(interface);
  // A group on one machine needs no name that resolves.
  if (!std::strcmp(master, "127.0.0.1") || !std::strcmp(master, "localhost"))
    return c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1");
  return c10d::ProcessGroupGloo::createDefaultDevice();
}

}  // namespace

// A connection to the store of the group, which this process holds if it `serves`.
extern "C" int soft_lmccl_store_open(
    const char* host, int port, bool serves, int64_t timeout, void** store, char* message, int room) {
  return guarded(message, room, [&] {
    c10d::TCPStoreOptions options;
    options.port = static_cast<std::uint16_t>(port);
    options.isServer = serves;
    // Checks in: a rank 0 of Python waits for the others before it begins. One of ours does not.
    options.waitWorkers = !serves;
    options.numWorkers = 1;
    options.multiTenant = true;
    options.timeout = milliseconds(timeout);
    *store = new Store(c10::make_intrusive<c10d::TCPStore>(host, options));
    return DONE;
  });
}

extern "C" void soft_lmccl_store_close(void* store) {
  char message[1];
  guarded(message, 1, [&] { delete static_cast<Store*>(store); return DONE; });
}

// Adds to a number, 0 at first, and tells it.
extern "C" int soft_lmccl_store_add(void* store, const char* key, int64_t by, int64_t* value, char* message, int room) {
  return guarded(message, room, [&] { *value = store_of(store).add(key, by); return DONE; });
}

extern "C" int soft_lmccl_store_set(
    void* store, const char* key, const char* bytes, int64_t length, char* message, int room) {
  return guarded(message, room, [&] { store_of(store).set(key, bytes_of(bytes, length)); return DONE; });
}

// Fills `bytes`; `length` is its room and becomes what it takes. `PENDING` where nobody has set the key.
extern "C" int soft_lmccl_store_get(
    void* store, const char* key, char* bytes, int64_t* length, char* message, int room) {
  return guarded(message, room, [&]() -> int {
    if (!store_of(store).check({key})) return PENDING;
    const auto value = store_of(store).get(key);
    const int64_t taken = std::min<int64_t>(*length, value.size());
    std::memcpy(bytes, value.data(), taken);
    *length = taken;
    return DONE;
  });
}

// The ranks of a group. Keys lie where PyTorch's `init_process_group` puts them.
extern "C" int soft_lmccl_group_open(
    void* store, const char* attempt, const char* master, int rank, int size, int64_t timeout, bool cuda, void** group,
    char* message, int room) {
  return guarded(message, room, [&]() -> int {
    Store keys = *static_cast<Store*>(store);
    if (*attempt) keys = c10::make_intrusive<c10d::PrefixStore>(attempt, keys);
    keys = c10::make_intrusive<c10d::PrefixStore>("default_pg", keys);
    keys = c10::make_intrusive<c10d::PrefixStore>("0/", keys);
    keys = c10::make_intrusive<c10d::PrefixStore>(cuda ? "cuda/" : "cpu/", keys);
    if (cuda) {
#ifdef SOFT_LMCCL_NCCL
      auto options = c10d::ProcessGroupNCCL::Options::create();
      options->timeout = milliseconds(timeout);
      *group = new Backend(c10::make_intrusive<c10d::ProcessGroupNCCL>(keys, rank, size, options));
      return DONE;
#else
      TORCH_CHECK(false, "tensors on a GPU need NCCL, and `" SOFT_LMCCL_MISSING "` was not there when this was built");
#endif
    }
    auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(timeout));
    options->devices.push_back(device(master));
    *group = new Backend(c10::make_intrusive<c10d::ProcessGroupGloo>(keys, rank, size, options));
    return DONE;
  });
}

extern "C" void soft_lmccl_group_close(void* group) {
  char message[1];
  guarded(message, 1, [&] { delete static_cast<Backend*>(group); return DONE; });
}

// Starts an operation. `counts_out` and `counts_in` are rows of each rank, for `ALL_TO_ALL`.
extern "C" int soft_lmccl_start(
    void* group, int operation, Tensor* output, Tensor* input, const int64_t* counts_out, const int64_t* counts_in,
    int ranks, int root, void** work, char* message, int room) {
  return guarded(message, room, [&]() -> int {
    auto& backend = **static_cast<Backend*>(group);
    std::vector<Tensor> tensors{*output};
    Work started;
    switch (operation) {
      case ALL_REDUCE_SUM:
      case ALL_REDUCE_MAX: {
        c10d::AllreduceOptions options;
        options.reduceOp = operation == ALL_REDUCE_MAX ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM;
        started = backend.allreduce(tensors, options);
        break;
      }
      case ALL_GATHER:
        started = backend._allgather_base(*output, *input);
        break;
      case ALL_TO_ALL: {
        std::vector<int64_t> out(counts_out, counts_out + ranks), in(counts_in, counts_in + ranks);
        started = backend.alltoall_base(*output, *input, out, in);
        break;
      }
      case BROADCAST: {
        c10d::BroadcastOptions options;
        options.rootRank = root;
        started = backend.broadcast(tensors, options);
        break;
      }
      default:
        TORCH_CHECK(false, "no operation ", operation);
    }
    *work = new Work(std::move(started));
    return DONE;
  });
}

// Waits so many milliseconds; `PENDING` if the operation takes longer.
extern "C" int soft_lmccl_wait(void* work, int64_t timeout, char* message, int room) {
  return guarded(message, room, [&]() -> int {
    auto& started = **static_cast<Work*>(work);
    try {
      started.wait(milliseconds(timeout));
    } catch (...) {
      // Either the operation's exception, which it keeps, or that of this wait.
    }
    if (!started.isCompleted()) return PENDING;
    if (auto exception = started.exception()) std::rethrow_exception(exception);
    return DONE;
  });
}

extern "C" void soft_lmccl_work_close(void* work) {
  char message[1];
  guarded(message, 1, [&] { delete static_cast<Work*>(work); return DONE; });
}
