"""The operations that a program may call: they make tensors of tensors and numbers, and no more.

Not all of PyTorch's do: `from_file` maps any file of the user's, to be written to by the next one,
`save` writes one, `resize_` and `set_` move a tensor to other memory. So what may be called is
listed: ATen's core set, into which PyTorch takes every network apart, and what traced networks
have of wholes that are not taken apart.
"""

import re

import torch
from torch._ops import OpOverload

_NAME = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_ASSERTION = re.compile(r"torch\.ops\.aten\._assert_\w+\.\w+")
_ARITHMETIC = re.compile(r"_operator\.(add|sub|mul|floordiv|mod|getitem|eq|ne|lt|le|gt|ge)")
_IN_PLACE = """
    add_ celu_ clamp_ clamp_max_ clamp_min_ copy_ detach_ div_ dropout_ elu_ exp_ fill_ gelu_
    hardsigmoid_ hardswish_ hardtanh_ leaky_relu_ masked_fill_ mish_ mul_ neg_ pow_ relu6_ relu_
    rsqrt_ selu_ sigmoid_ silu_ sqrt_ sub_ tanh_ zero_
"""
"""Those that write values, each to a tensor of the program itself."""
_WHOLES = """
    adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d addcdiv addcmul adjoint
    affine_grid_generator all alpha_dropout any arange argsort baddbmm batch_norm bilinear
    broadcast_tensors broadcast_to bucketize celu channel_shuffle chunk clamp_max clamp_min
    column_stack concat concatenate contiguous conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d count_nonzero cross cummax cumprod detach diag diag_embed diff divide dot
    dropout einsum empty_like expand_as eye feature_dropout fft_fft fft_fft2 fft_fftn fft_fftshift
    fft_ifft fft_ifft2 fft_ifftn fft_ifftshift fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2
    fft_rfftn flatten floor_divide frobenius_norm full full_like glu grid_sampler group_norm
    hardsigmoid hardswish hstack im2col imag instance_norm isfinite item layer_norm lerp
    lift_fresh_copy linalg_matrix_norm linalg_norm linalg_vector_norm linear linspace log_sigmoid
    log_softmax logsumexp mH mT masked_fill matmul max max_pool1d max_pool2d max_pool3d meshgrid
    min mish moveaxis movedim multiply mv nan_to_num narrow new_empty new_full new_ones new_zeros
    norm normal numpy_T one_hot ones ones_like outer pad pixel_shuffle pixel_unshuffle positive
    prelu rand_like randn_like ravel real relu6 repeat_interleave reshape reshape_as rms_norm roll
    rot90 rrelu rsub scaled_dot_product_attention selu silu softmax softplus split
    square squeeze stack std std_mean subtract sum swapaxes swapdims sym_constrain_range
    sym_constrain_range_for_size t tensor_split threshold tile to transpose tril tril_indices triu
    triu_indices true_divide type_as unbind unflatten unfold unsafe_chunk unsafe_split
    upsample_bicubic2d upsample_linear1d upsample_nearest1d
    upsample_trilinear3d vander var var_mean view_as view_as_complex view_as_real vstack where zeros
    zeros_like
"""
"""Those that are taken apart only where a program is compiled."""


def computes(target: str) -> bool:
    """Tell whether what a graph calls by this name makes tensors or numbers, and nothing else."""
    if _ARITHMETIC.fullmatch(target) or _ASSERTION.fullmatch(target):
        return True
    found = _NAME.fullmatch(target)
    if found is None:
        return False
    name, overload = found.groups()
    operation = getattr(getattr(torch.ops.aten, name, None), overload, None)
    if not isinstance(operation, OpOverload):
        return False
    if operation._schema.is_mutable:
        return name in _IN_PLACE.split()
    return name in _WHOLES.split() or torch.Tag.core in operation.tags
