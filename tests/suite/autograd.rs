//! Operations with a gradient of their own: what the graph does with the closure, and what it refuses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use soft_lmccl::{
    Error, Result,
    autograd::{Backward, function, gradients},
    tch::{Device, Kind, Tensor, no_grad_guard},
};

/// Counts how often it was dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counter() -> (Arc<AtomicUsize>, Dropped) {
    let count = Arc::new(AtomicUsize::new(0));
    (Arc::clone(&count), Dropped(count))
}

fn leaf(values: &[f64]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach()).unwrap()
}

/// `x²`, whose closure holds `held`.
fn square<T: Send + 'static>(x: &Tensor, held: T) -> Tensor {
    let outputs = function(&[x], || {
        let backward = move |backward: &Backward<'_>| {
            let _held = &held;
            Ok(vec![backward.gradient(0).map(|gradient| gradient * &backward.inputs()[0] * 2.0)])
        };
        Ok((vec![x.square()], backward))
    });
    outputs.unwrap().remove(0)
}

/// The first line of what a backward fails with.
fn failure(tensor: &Tensor) -> String {
    tensor.f_backward().unwrap_err().to_string().lines().next().unwrap().to_owned()
}

#[test]
fn gradients_pass_through_and_add_up() {
    let x = leaf(&[3.0, -1.0]);
    // Between recorded operations: d/dx Σ 5·(2x)² = 40x.
    (square(&(&x * 2.0), ()) * 5.0).sum(Kind::Double).backward();
    assert_eq!(values(&x.grad()), [120.0, -40.0]);
    square(&x, ()).sum(Kind::Double).backward();
    assert_eq!(values(&x.grad()), [126.0, -42.0]);
}

#[test]
fn second_derivatives_of_recorded_operations() {
    let x = leaf(&[3.0]);
    let y = square(&x, ()) * &x;
    let first = Tensor::run_backward(&[y], &[&x], true, true).remove(0);
    assert_eq!(values(&first), [27.0]);
    let second = Tensor::run_backward(&[first], &[&x], false, false).remove(0);
    assert_eq!(values(&second), [18.0]);
}

/// A backward within the closure that comes by its own node again, and lets go of the graph.
#[test]
fn a_backward_within_the_closure() {
    let (count, held) = counter();
    let x = leaf(&[3.0]);
    let outputs = function(&[&x], || {
        let backward = move |backward: &Backward<'_>| {
            let _held = &held;
            let gradient = backward.gradient(0).unwrap();
            if gradient.requires_grad() {
                gradient.f_backward()?;
            }
            Ok(vec![Some(gradient * &backward.inputs()[0] * 2.0)])
        };
        Ok((vec![x.square()], backward))
    });
    let y = outputs.unwrap().remove(0);
    // dy²/dy = 2y depends on y, so on x by the closure: d(2y)/dx = 4x.
    let gradient = Tensor::run_backward(&[y.square()], &[&x], true, true).remove(0);
    assert_eq!((values(&gradient), values(&x.grad())), (vec![108.0], vec![12.0]));
    drop((y, gradient));
    x.shallow_clone().zero_grad();
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// The gradients by the outputs are constants of the sum, and yet in the graph.
#[test]
fn gradients_take_those_by_the_outputs() {
    let (x, by) = (leaf(&[3.0, -1.0]), leaf(&[1.0, 10.0]));
    let found = gradients(&[&(&x * &x * &x)], &[&(&by * &x)], &[&x]).unwrap().remove(0).unwrap();
    // by·x times 3x².
    assert_eq!(values(&found), [81.0, -30.0]);
    found.sum(Kind::Double).backward();
    assert_eq!((values(&x.grad()), values(&by.grad())), (vec![81.0, 90.0], vec![81.0, -3.0]));
    let ones = Tensor::from_slice(&[1.0, 1.0]);
    assert!(gradients(&[&x.square()], &[&ones], &[&by]).unwrap()[0].is_none());
    let error = gradients(&[&ones], &[&ones], &[&x]).unwrap_err();
    assert!(error.to_string().contains("does not require grad"), "{error}");
}

#[test]
fn the_closure_is_dropped_once() {
    let dropped = |use_it: &dyn Fn(Tensor)| {
        let (count, held) = counter();
        let x = leaf(&[3.0]);
        use_it(square(&x, held));
        count.load(Ordering::SeqCst)
    };
    assert_eq!(dropped(&drop), 1);
    assert_eq!(dropped(&|y| y.backward()), 1);
    assert_eq!(dropped(&|y| drop((y.f_backward(), y.f_backward()))), 1);
    // Kept through two backwards, dropped with the graph.
    let (count, held) = counter();
    let x = leaf(&[3.0]);
    let y = square(&x, held);
    for _ in 0..2 {
        let gradient = Tensor::run_backward(&[&y], &[&x], true, false).remove(0);
        assert_eq!((values(&gradient), count.load(Ordering::SeqCst)), (vec![6.0], 0));
    }
    drop(y);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // Dropped by the backward that does not keep the graph, not only with the output.
    let (count, held) = counter();
    let y = square(&x, held);
    y.backward();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    drop(y);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn nothing_is_recorded_where_nothing_takes_a_gradient() {
    let (count, held) = counter();
    let y = square(&Tensor::from_slice(&[3.0]), held);
    assert_eq!((y.requires_grad(), count.load(Ordering::SeqCst)), (false, 1));
    let (count, held) = counter();
    let x = leaf(&[3.0]);
    let _frozen = no_grad_guard();
    let y = square(&x, held);
    assert_eq!((values(&y), y.requires_grad(), count.load(Ordering::SeqCst)), (vec![9.0], false, 1));
}

#[test]
fn a_second_backward_is_the_usual_error() {
    let y = square(&leaf(&[3.0]), ());
    y.backward();
    let recorded = leaf(&[3.0]).square();
    recorded.backward();
    let usual = failure(&recorded);
    assert!(usual.contains("Trying to backward through the graph a second time"), "{usual}");
    assert_eq!(failure(&y), usual);
}

#[test]
fn an_input_changed_in_place_is_the_usual_error() {
    let changed = |operation: &dyn Fn(&Tensor) -> Tensor| {
        let x = leaf(&[3.0]);
        let y = operation(&x);
        {
            let _frozen = no_grad_guard();
            let _ = x.shallow_clone().g_add_scalar_(1.0);
        }
        failure(&y)
    };
    let message = changed(&|x| square(x, ()));
    assert!(message.contains("modified by an inplace operation"), "{message}");
    assert_eq!(message, changed(&|x| x.square()));
}

/// Panics, errors and wrong returns come back from `f_backward`, and the next backward of the thread is fine.
#[test]
fn what_goes_wrong_in_the_closure_is_an_error() {
    fn failing(backward: impl Fn() -> Result<Vec<Option<Tensor>>> + Send + 'static) -> String {
        let x = leaf(&[3.0, 4.0]);
        let sum = x.square().sum(Kind::Double);
        let outputs = function(&[&x], || Ok((vec![sum], move |_: &Backward<'_>| backward())));
        failure(&outputs.unwrap()[0])
    }
    let message = failing(|| panic!("out of {}", "cheese"));
    assert!(message.contains("a backward panicked: out of cheese"), "{message}");
    let message = failing(|| panic!("no arguments"));
    assert!(message.contains("a backward panicked: no arguments"), "{message}");
    let message = failing(|| {
        Err(Error::Tensor { what: "gradient", expected: "a better day".into(), got: "a % sign: %s%n".into() })
    });
    assert!(message.contains("gradient: expected a better day, got a % sign: %s%n"), "{message}");
    let message = failing(|| Ok(Vec::new()));
    assert!(message.contains("1 inputs, but a backward returned 0 gradients"), "{message}");
    let message = failing(|| Ok(vec![Some(Tensor::from_slice(&[1.0, 2.0, 3.0]))]));
    assert!(message.contains("invalid gradient"), "{message}");
    // Longer than the room for it.
    let message = failing(|| panic!("{}", "long ".repeat(1000)));
    assert!(message.contains("long long"), "{message}");
    let x = leaf(&[3.0]);
    square(&x, ()).backward();
    assert_eq!(values(&x.grad()), [6.0]);
}

#[test]
fn an_error_of_the_forward_is_passed_on() {
    type Never = fn(&Backward<'_>) -> Result<Vec<Option<Tensor>>>;
    let result = function::<Never>(&[&leaf(&[1.0])], || Err(Error::NameTaken("forward".into())));
    assert!(matches!(result, Err(Error::NameTaken(name)) if name == "forward"));
}

#[test]
fn several_inputs_and_outputs() {
    let (a, b) = (leaf(&[2.0]), leaf(&[5.0]));
    let frozen = Tensor::from_slice(&[7.0]);
    let made = || {
        function(&[&a, &frozen, &b], || {
            let backward = |backward: &Backward<'_>| {
                let [a, _, b] = backward.inputs() else { unreachable!("three inputs") };
                assert!(!backward.needs(1) && !backward.needs(3) && !backward.create_graph());
                let zero = Tensor::from_slice(&[0.0]);
                let by_product = backward.gradient(0).unwrap_or(&zero);
                let by_sum = backward.gradient(1).unwrap_or(&zero);
                let by_a = backward.needs(0).then(|| by_product * b + by_sum);
                Ok(vec![by_a, None, backward.needs(2).then(|| by_product * a + by_sum)])
            };
            Ok((vec![&a * &b, &a + &b, Tensor::from_slice(&[1i64])], backward))
        })
        .unwrap()
    };
    let outputs = made();
    assert!(outputs[0].requires_grad() && outputs[1].requires_grad() && !outputs[2].requires_grad());
    (&outputs[0] * 10.0 + &outputs[1]).backward();
    assert_eq!((values(&a.grad()), values(&b.grad())), (vec![51.0], vec![21.0]));
    // One output alone, by one input alone.
    let by_b = Tensor::run_backward(&[&made()[1]], &[&b], false, false);
    assert_eq!(values(&by_b[0]), [1.0]);
}

/// An output that the closure holds, and an output that is an input.
#[test]
fn no_node_owns_itself() {
    let (count, held) = counter();
    let x = leaf(&[1.0]);
    let outputs = function(&[&x], || {
        let power = x.exp();
        let kept = power.shallow_clone();
        let backward = move |backward: &Backward<'_>| {
            let _held = &held;
            let zero = kept.zeros_like();
            Ok(vec![Some(backward.gradient(0).unwrap_or(&zero) * &kept + backward.gradient(1).unwrap_or(&zero))])
        };
        Ok((vec![power, x.shallow_clone()], backward))
    });
    let outputs = outputs.unwrap();
    assert!(x.is_leaf() && !outputs[1].is_leaf());
    drop(Tensor::run_backward(&[&outputs[0]], &[&x], true, false));
    drop(outputs);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_backward_from_another_thread() {
    let (count, held) = counter();
    let x = leaf(&[3.0]);
    let y = square(&x, held);
    thread::spawn(move || y.backward()).join().unwrap();
    assert_eq!((values(&x.grad()), count.load(Ordering::SeqCst)), (vec![6.0], 1));
}

/// 10,000 steps that hold 64 KiB each would be 640 MiB.
#[test]
fn nothing_leaks_over_many_steps() {
    const STEPS: usize = 10_000;
    let count = Arc::new(AtomicUsize::new(0));
    let mut x = Tensor::ones([1 << 13], (Kind::Double, Device::Cpu)).set_requires_grad(true);
    let before = resident();
    for step in 0..STEPS {
        x.zero_grad();
        let y = square(&x, (Dropped(Arc::clone(&count)), x.detach().copy()));
        // Some graphs are never walked.
        if step % 3 > 0 {
            y.sum(Kind::Double).backward();
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), STEPS);
    if let (Some(before), Some(after)) = (before, resident()) {
        assert!(after < before + (200 << 10), "{before} KiB before, {after} KiB after");
    }
}

/// KiB, where the system tells (Linux).
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find(|line| line.starts_with("VmRSS:"))?.split_whitespace().nth(1)?.parse().ok()
}
