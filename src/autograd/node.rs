//! The one page that talks to `node.cpp`. Pointers to tensors are torch-sys' own: both sides mean `at::Tensor*`.

use std::{
    any::Any,
    ffi::{CStr, c_char, c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::Backward;
use crate::{Error, Result};

/// Room for what went wrong, `MESSAGE` of the other side.
const ROOM: usize = 1024;

type Closure = Box<dyn Fn(&Backward<'_>) -> Result<Vec<Option<Tensor>>> + Send>;

type BackwardFn = unsafe extern "C" fn(
    closure: *mut c_void,
    gradients: *mut *mut C_tensor,
    outputs: c_int,
    inputs: *mut *mut C_tensor,
    needed: *const bool,
    count: c_int,
    create_graph: bool,
    results: *mut *mut C_tensor,
    message: *mut c_char,
    room: c_int,
) -> c_int;

unsafe extern "C" {
    fn soft_lmccl_attach(
        inputs: *const *mut C_tensor,
        count: c_int,
        outputs: *const *mut C_tensor,
        output_count: c_int,
        closure: *mut c_void,
        backward: BackwardFn,
        drop: unsafe extern "C" fn(*mut c_void),
        message: *mut c_char,
        room: c_int,
    ) -> c_int;

    fn soft_lmccl_gradients(
        outputs: *const *mut C_tensor,
        gradients: *const *mut C_tensor,
        output_count: c_int,
        inputs: *const *mut C_tensor,
        count: c_int,
        results: *mut *mut C_tensor,
        message: *mut c_char,
        room: c_int,
    ) -> c_int;
}

/// Makes the outputs those of a node that calls `backward`, if any input takes a gradient.
pub(super) fn attach(inputs: &[&Tensor], outputs: &mut [Tensor], backward: Closure) -> Result<()> {
    let inputs = pointers(inputs);
    let outputs: Vec<_> = outputs.iter_mut().map(Tensor::as_mut_ptr).collect();
    let closure = Box::into_raw(Box::new(backward)).cast();
    let mut message = [0; ROOM];
    // SAFETY: the tensors live in the caller beyond this call, which reads `inputs` and replaces what `outputs`, borrowed
    // mutably, point to. The closure is the node's from here on, which calls `drop_closure` on it once.
    let failed = unsafe {
        soft_lmccl_attach(
            inputs.as_ptr(),
            length(&inputs),
            outputs.as_ptr(),
            length(&outputs),
            closure,
            call,
            drop_closure,
            message.as_mut_ptr(),
            ROOM as c_int,
        )
    };
    checked(failed, &message)
}

/// The gradients of `Σ outputs·gradients` by the inputs, in the graph, which is kept.
pub(super) fn gradients(outputs: &[&Tensor], gradients: &[&Tensor], inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    assert_eq!(outputs.len(), gradients.len(), "a gradient for each output");
    let (outputs, gradients, inputs) = (pointers(outputs), pointers(gradients), pointers(inputs));
    let mut results = vec![ptr::null_mut(); inputs.len()];
    let mut message = [0; ROOM];
    // SAFETY: the tensors live in the caller beyond this call, which only reads them; `results` has a place for each input.
    let failed = unsafe {
        soft_lmccl_gradients(
            outputs.as_ptr(),
            gradients.as_ptr(),
            length(&outputs),
            inputs.as_ptr(),
            length(&inputs),
            results.as_mut_ptr(),
            message.as_mut_ptr(),
            ROOM as c_int,
        )
    };
    checked(failed, &message)?;
    // SAFETY: new tensors, which nobody else frees.
    let results = results.into_iter().map(|result| unsafe { Tensor::from_ptr(result) });
    Ok(results.map(|result| result.defined().then_some(result)).collect())
}

fn checked(failed: c_int, message: &[c_char]) -> Result<()> {
    if failed == 0 {
        return Ok(());
    }
    // SAFETY: `snprintf` ends what it writes with a zero, within the room.
    let message = unsafe { CStr::from_ptr(message.as_ptr()) };
    Err(Error::Torch(TchError::Torch(message.to_string_lossy().into_owned())))
}

fn pointers(tensors: &[&Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(|tensor| tensor.as_ptr().cast_mut()).collect()
}

/// What the node calls in a backward, on one thread at a time: it holds its lock. It may be called again from within.
unsafe extern "C" fn call(
    closure: *mut c_void,
    gradients: *mut *mut C_tensor,
    outputs: c_int,
    inputs: *mut *mut C_tensor,
    needed: *const bool,
    count: c_int,
    create_graph: bool,
    results: *mut *mut C_tensor,
    message: *mut c_char,
    room: c_int,
) -> c_int {
    // A panic must not unwind into C++: all that can panic is in here.
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `closure` came from `Box::into_raw` in `attach` and is not dropped yet; the arrays are as long as said
        // and hold tensors that outlive this call; `needed` is as long as `inputs`.
        let (closure, gradients, inputs, needed) = unsafe {
            let needed = match count {
                0 => &[][..],
                _ => slice::from_raw_parts(needed, count as usize),
            };
            (&*closure.cast::<Closure>(), tensors(gradients, outputs), tensors(inputs, count), needed)
        };
        let gradients = gradients.into_iter().map(|gradient| gradient.defined().then_some(gradient)).collect();
        let backward = Backward { gradients, inputs, needed, create_graph };
        let by_inputs = closure(&backward).map_err(|error| error.to_string())?;
        if by_inputs.len() != needed.len() {
            return Err(format!("{} inputs, but a backward returned {} gradients", needed.len(), by_inputs.len()));
        }
        Ok(by_inputs)
    }));
    let problem = match result {
        Ok(Ok(by_inputs)) => {
            for (index, mut tensor) in by_inputs.into_iter().enumerate().filter_map(|(i, t)| Some((i, t?))) {
                // SAFETY: `results` has a place for each input. The other side frees the tensor: here it is forgotten.
                unsafe { *results.add(index) = tensor.as_mut_ptr() };
                std::mem::forget(tensor);
            }
            return 0;
        }
        Ok(Err(problem)) => problem,
        Err(panic) => format!("a backward panicked: {}", text(panic.as_ref())),
    };
    let bytes = &problem.as_bytes()[..problem.len().min(room as usize - 1)];
    // SAFETY: `message` has `room` bytes, and this writes one less and a zero.
    unsafe {
        ptr::copy_nonoverlapping(bytes.as_ptr().cast(), message, bytes.len());
        *message.add(bytes.len()) = 0;
    }
    1
}

unsafe extern "C" fn drop_closure(closure: *mut c_void) {
    // SAFETY: from `Box::into_raw` in `attach`; the node calls this once. A panic of a destructor must not unwind into C++.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(unsafe { Box::from_raw(closure.cast::<Closure>()) })));
}

/// Handles of their own on so many tensors.
///
/// # Safety
/// `pointers` must hold `count` pointers to tensors.
unsafe fn tensors(pointers: *mut *mut C_tensor, count: c_int) -> Vec<Tensor> {
    // SAFETY: the caller's promise.
    (0..count as usize).map(|index| unsafe { Tensor::clone_from_ptr(*pointers.add(index)) }).collect()
}

fn length<T>(values: &[T]) -> c_int {
    c_int::try_from(values.len()).expect("far fewer tensors than integers")
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}
