// A node of libtorch's graph whose backward is a closure of Rust: see `mod.rs`, `node.rs`.
//
// No exception leaves the two functions that Rust calls, and no panic enters from the two that it is given.

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/headeronly/version.h>

#include <cstdio>
#include <memory>
#include <mutex>

using namespace torch::autograd;
using at::Tensor;

namespace {

constexpr int MESSAGE = 1024;

// Fills `results` with new tensors or null; where it returns other than 0, `message` says why.
typedef int (*Backward)(
    void* closure, Tensor** gradients, int outputs, Tensor** inputs, const bool* needed, int count,
    bool create_graph, Tensor** results, char* message, int room);
typedef void (*Drop)(void* closure);

// 0, or 1 with what went wrong.
template <typename Work>
int guarded(char* message, int room, Work work) {
  try {
    work();
    return 0;
  } catch (const std::exception& error) {
    std::snprintf(message, room, "%s", error.what());
  } catch (...) {
    std::snprintf(message, room, "an exception that is none of libtorch's");
  }
  return 1;
}

struct ClosureNode : Node {
  // One thread at a time; recursive, since a backward within the closure may come by here again.
  std::recursive_mutex one_at_a_time;
  std::shared_ptr<void> closure;
  Backward backward;
  std::vector<SavedVariable> inputs;

  ClosureNode(void* closure, Backward backward, Drop drop) : closure(closure, drop), backward(backward) {}

  std::string name() const override {
    return "ClosureBackward";
  }

  // libtorch calls it after a backward that does not keep the graph.
  void release_variables() override {
    std::lock_guard<std::recursive_mutex> lock(one_at_a_time);
    closure.reset();
    inputs.clear();
  }

  variable_list apply(variable_list&& gradients) override {
    std::lock_guard<std::recursive_mutex> lock(one_at_a_time);
    // Held while it runs, whatever a backward within it releases.
    const auto held = closure;
    TORCH_CHECK(held, ERR_BACKWARD_TWICE);
    const int count = static_cast<int>(inputs.size());
    // Throws where a variable is not of the version that was saved.
    variable_list unpacked;
    std::unique_ptr<bool[]> needed(new bool[count]);
    for (int i = 0; i < count; ++i) {
      unpacked.push_back(inputs[i].unpack());
      needed[i] = task_should_compute_output(i);
    }
    auto pointers = [](variable_list& list) {
      std::vector<Tensor*> all;
      for (auto& tensor : list) all.push_back(&tensor);
      return all;
    };
    auto gradients_in = pointers(gradients), inputs_in = pointers(unpacked);
    std::vector<Tensor*> results(count, nullptr);
    char message[MESSAGE] = "";
    const int failed = backward(
        held.get(), gradients_in.data(), static_cast<int>(gradients.size()), inputs_in.data(), needed.get(), count,
        at::GradMode::is_enabled(), results.data(), message, MESSAGE);
    variable_list by_inputs(count);
    for (int i = 0; i < count; ++i) {
      if (!results[i]) continue;
      // Moved, not shared: what accumulates gradients takes over one that nobody else holds.
      by_inputs[i] = std::move(*results[i]);
      delete results[i];
    }
    TORCH_CHECK(!failed, static_cast<const char*>(message));
    return by_inputs;
  }
};

// libtorch 2.13 counts the owners of a node in the node, earlier ones beside it.
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 13
c10::intrusive_ptr<ClosureNode> new_node(void* closure, Backward backward, Drop drop) {
  return c10::make_intrusive<ClosureNode>(closure, backward, drop);
}
#else
std::shared_ptr<ClosureNode> new_node(void* closure, Backward backward, Drop drop) {
  return {new ClosureNode(closure, backward, drop), deleteNode};
}
#endif

}  // namespace

// Takes over the closure. Makes each output one of this node's, if an input takes a gradient and gradients are on;
// drops the closure at once otherwise.
extern "C" int soft_lmccl_attach(
    Tensor** inputs, int count, Tensor** outputs, int output_count, void* closure, Backward backward, Drop drop,
    char* message, int room) {
  auto node = new_node(closure, backward, drop);
  return guarded(message, room, [&] {
    variable_list variables;
    for (int i = 0; i < count; ++i) variables.push_back(*inputs[i]);
    if (!at::GradMode::is_enabled() || !compute_requires_grad(variables)) return;
    for (auto& variable : variables) node->inputs.emplace_back(variable, /*is_output=*/false);
    node->set_next_edges(collect_next_edges(variables));
    for (int i = 0; i < output_count; ++i) {
      // A new tensor on the same numbers: the closure may hold the old one, and a node that owned itself would stay.
      Tensor output = outputs[i]->tensor_data();
      if (isDifferentiableType(output.scalar_type())) {
        set_history(output, node);
      } else {
        node->add_input_metadata(Node::undefined_input());
      }
      *outputs[i] = std::move(output);
    }
  });
}

// Fills `results` with new tensors: the gradients by the inputs of the sum of outputs times gradients. The graph is kept,
// and the gradients are of it.
extern "C" int soft_lmccl_gradients(
    Tensor** outputs, Tensor** gradients, int output_count, Tensor** inputs, int count, Tensor** results,
    char* message, int room) {
  return guarded(message, room, [&] {
    edge_list roots, ends;
    variable_list by_outputs;
    for (int i = 0; i < output_count; ++i) {
      roots.push_back(impl::gradient_edge(*outputs[i]));
      TORCH_CHECK(roots.back().function, "output ", i, " does not require grad");
      by_outputs.push_back(*gradients[i]);
    }
    for (int i = 0; i < count; ++i) {
      ends.push_back(impl::gradient_edge(*inputs[i]));
      TORCH_CHECK(ends.back().function, "input ", i, " does not require grad");
    }
    auto found = Engine::get_default_engine().execute(
        roots, by_outputs, /*keep_graph=*/true, /*create_graph=*/true, /*accumulate_grad=*/false, ends);
    for (int i = 0; i < count; ++i) results[i] = new Tensor(std::move(found[i]));
  });
}
