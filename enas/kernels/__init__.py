"""What CPUs do slowly in torch, done faster by other means, each beside its plain twin.

All take images [N, C, H, W], fastest channels last. In float32 and bfloat16 kernels in C++ do the work (see
`compiled`), where there is a compiler for them and oneDNN is not as fast. Elsewhere they are made of torch's
operations, where that is faster than torch's own kernel. On other devices than a CPU they are torch's own operations,
but for the pixels.
"""

from enas.kernels.batchnorm import batch_norm, batch_norm_plain
from enas.kernels.depthwise import depthwise, depthwise_plain
from enas.kernels.elementwise import relu, total
from enas.kernels.limits import plain_kernels, python_kernels
from enas.kernels.pixels import even_and_odd_pixels, strided_pixels
from enas.kernels.pooling import average_pool, average_pool_plain, maximum_pool, maximum_pool_plain

__all__ = [
    "average_pool",
    "average_pool_plain",
    "batch_norm",
    "batch_norm_plain",
    "depthwise",
    "depthwise_plain",
    "even_and_odd_pixels",
    "maximum_pool",
    "maximum_pool_plain",
    "plain_kernels",
    "python_kernels",
    "relu",
    "strided_pixels",
    "total",
]
