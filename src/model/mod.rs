//! Example 3-D networks: `[B, 1, S, S, S]` subtomograms to `[B, D]` embeddings.
//!
//! The losses take embeddings from any network; the examples train these networks.
//!
//! | network | by name | parameters at 40³ | source |
//! |---|---|---|---|
//! | [`CompactNet`] | `compact` | 1,239,632 | for two cores |
//! | [`SphereNet`] | `sphere20` | 49,113,280 | the authors' code |
//! | [`Dsrf3d`] | `dsrf3d_v2` | 19,344,672 | Xu lab, v2 of DSRF3D |
//! | [`Rb3d`] | `rb3d` | 264,362,176 | Xu lab |
//! | [`Cb3d`] | `cb3d` | 65,412,480 | Xu lab, C3D |
//!
//! The last three were classifiers. Here the embedding layer replaces their class layer: linear and batch-normalized,
//! as in the authors' code. [`NetworkConfig`] chooses a network by name. In evaluation mode every network is a pure
//! function of its input and weights; [`HalfTurnMean`] runs one four times.

/// Every network that has a name: variant, name, type, configuration, and the function that makes it.
macro_rules! each_network {
    ($callback:ident) => {
        $callback! {
            /// [`CompactNet`], for two cores.
            Compact = "compact", CompactNet, CompactNetConfig, compact_net;
            /// [`SphereNet`], the authors'.
            Sphere20 = "sphere20", SphereNet, SphereNetConfig, sphere_net;
            /// [`Dsrf3d`] in its second version.
            Dsrf3dV2 = "dsrf3d_v2", Dsrf3d, Dsrf3dConfig, dsrf3d;
            /// [`Rb3d`].
            Rb3d = "rb3d", Rb3d, Rb3dConfig, rb3d;
            /// [`Cb3d`].
            Cb3d = "cb3d", Cb3d, Cb3dConfig, cb3d;
        }
    };
}

mod cb3d;
mod compact_net;
mod dsrf3d;
mod half_turns;
mod layers;
mod network; // after the list, which it reads
mod pretrained;
mod rb3d;
mod sphere_net;
mod trained;
mod whitening;

pub use cb3d::{Cb3d, Cb3dConfig, cb3d};
pub use compact_net::{CompactNet, CompactNetConfig, compact_net};
pub use dsrf3d::{Dsrf3d, Dsrf3dConfig, dsrf3d};
pub use half_turns::{HalfTurnMean, half_turns};
pub use network::{Architecture, Network, NetworkConfig};
#[cfg(feature = "cect")]
pub use pretrained::prepared;
pub use pretrained::{Pretrained, pretrained};
pub use rb3d::{Rb3d, Rb3dConfig, rb3d};
pub use sphere_net::{SphereNet, SphereNetConfig, SphereStage, sphere_net};
pub use trained::{Embedder, Trained};
