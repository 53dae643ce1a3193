// channel_modulation: x * gate + residual, and its gradients.
#include <algorithm>
#include <cstdint>

#include "instruction_set.h"
#include "types.h"

namespace dasr_fast {

// An item of the forward pass is a plane (contiguous) or a row (channels-last) of the features, one of the backward
// pass a plane, or one of the `parts` of a sample's rows.
struct ChannelModulation {
    int64_t channels, height, width, parts;
    bool channels_last;
    Type type;
    const void *x, *gate, *residual, *grad;
    void *y, *grad_x;
    float* grad_gate; // [B, parts, C]
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include "vector.h"

namespace dasr_fast {
namespace {

template <class T>
void modulate_plane(const ChannelModulation& p, int64_t plane) {
    const int64_t size = p.height * p.width, start = plane * size;
    const T *x = (const T*)p.x + start, *residual = p.residual ? (const T*)p.residual + start : nullptr;
    T* y = (T*)p.y + start;
    const Vector gate = splat(number((const T*)p.gate + plane));
    for (int64_t i = 0; i < size; i += LANES) {
        Vector value = load(x + i, size - i) * gate;
        if (residual) value += load(residual + i, size - i);
        store(y + i, value, size - i);
    }
}

template <class T>
void modulate_row(const ChannelModulation& p, int64_t row) {
    const int64_t start = row * p.width * p.channels, sample = row / p.height;
    const T *x = (const T*)p.x + start, *residual = p.residual ? (const T*)p.residual + start : nullptr;
    const T* gate = (const T*)p.gate + sample * p.channels;
    T* y = (T*)p.y + start;
    for (int64_t i = 0; i < p.width * p.channels; i += p.channels)
        for (int64_t c = 0; c < p.channels; c += LANES) {
            const int64_t count = p.channels - c;
            Vector value = load(x + i + c, count) * load(gate + c, count);
            if (residual) value += load(residual + i + c, count);
            store(y + i + c, value, count);
        }
}

template <class T>
void plane_backward(const ChannelModulation& p, int64_t plane) {
    const int64_t size = p.height * p.width, start = plane * size;
    const T *x = (const T*)p.x + start, *grad = (const T*)p.grad + start;
    T* grad_x = (T*)p.grad_x + start;
    const Vector gate = splat(number((const T*)p.gate + plane));
    Vector total[2] = {};
    for (int64_t i = 0; i < size; i += LANES) {
        const Vector g = load(grad + i, size - i);
        total[i / LANES % 2] += g * load(x + i, size - i);
        store(grad_x + i, g * gate, size - i);
    }
    p.grad_gate[plane] = sum(total[0] + total[1]);
}

// How many neighbours are still in the first-level cache when the next vector of their channels is computed.
int64_t pixels_at_once(int64_t channels) {
    return std::max<int64_t>(2, 512 / std::max<int64_t>(channels, 1));
}

template <class T>
void part_backward(const ChannelModulation& p, int64_t item) {
    const int64_t sample = item / p.parts, part = item % p.parts, start = sample * p.height * p.width;
    const int64_t first = start + p.height * part / p.parts * p.width;
    const int64_t last = start + p.height * (part + 1) / p.parts * p.width;
    const T* gate = (const T*)p.gate + sample * p.channels;
    float* grad_gate = p.grad_gate + item * p.channels;
    std::fill_n(grad_gate, p.channels, 0.0f);
    const int64_t pixels = pixels_at_once(p.channels), ahead = pixels * p.channels;
    for (int64_t begin = first; begin < last; begin += pixels) {
        const int64_t end = std::min(last, begin + pixels);
        for (int64_t c = 0; c < p.channels; c += LANES) {
            const int64_t count = p.channels - c;
            const Vector factor = load(gate + c, count);
            Vector total = load(grad_gate + c, count);
            for (int64_t at = begin * p.channels + c; at < end * p.channels; at += p.channels) {
                prefetch((const T*)p.x, at + ahead);
                prefetch((const T*)p.grad, at + ahead);
                const Vector g = load((const T*)p.grad + at, count);
                total += g * load((const T*)p.x + at, count);
                store((T*)p.grad_x + at, g * factor, count);
            }
            store(grad_gate + c, total, count);
        }
    }
}

} // namespace

namespace DASR_FAST_KERNELS {

void channel_modulation(const ChannelModulation& p, int64_t begin, int64_t end) {
    with_type(p.type, [&](auto element) {
        using T = typename decltype(element)::type;
        for (int64_t item = begin; item < end; ++item)
            p.channels_last ? modulate_row<T>(p, item) : modulate_plane<T>(p, item);
    });
}

void channel_modulation_backward(const ChannelModulation& p, int64_t begin, int64_t end) {
    with_type(p.type, [&](auto element) {
        using T = typename decltype(element)::type;
        for (int64_t item = begin; item < end; ++item)
            p.channels_last ? part_backward<T>(p, item) : plane_backward<T>(p, item);
    });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(channel_modulation, ChannelModulation)
DASR_FAST_BEST(channel_modulation_backward, ChannelModulation)

static ChannelModulation problem(const Tensor& x, const Tensor& gate) {
    ChannelModulation p{};
    p.channels = x.size(1), p.height = x.size(2), p.width = x.size(3);
    p.channels_last = channels_last(x);
    p.type = type_of(x);
    p.x = x.const_data_ptr(), p.gate = gate.const_data_ptr();
    return p;
}

Tensor channel_modulation(Tensor x, Tensor gate, std::optional<Tensor> residual) {
    const MemoryFormat format = memory_format(x);
    x = dense(x), gate = torch::stable::contiguous(gate), residual = in_format(residual, format);
    const Tensor y = new_features(x, x.size(1), format);
    ChannelModulation p = problem(x, gate);
    p.residual = pointer(residual), p.y = y.mutable_data_ptr();
    run(best_channel_modulation(), p, x.size(0) * (p.channels_last ? p.height : p.channels));
    return y;
}

std::tuple<Tensor, Tensor> channel_modulation_backward(Tensor grad, Tensor x, Tensor gate) {
    const MemoryFormat format = memory_format(x);
    grad = in_memory_format(grad, format), x = dense(x), gate = torch::stable::contiguous(gate);
    ChannelModulation p = problem(x, gate);
    p.parts = p.channels_last ? parts_of(x.size(0), p.height, p.width) : 1;
    const Tensor grad_x = new_features(x, p.channels, format), grad_gate = new_sums({x.size(0), p.parts, p.channels});
    p.grad = grad.const_data_ptr(), p.grad_x = grad_x.mutable_data_ptr(), p.grad_gate = floats(grad_gate);
    run(best_channel_modulation_backward(), p, x.size(0) * (p.channels_last ? p.parts : p.channels));
    return {grad_x, added(grad_gate, 1, gate)};
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) {
    m.impl("channel_modulation", TORCH_BOX(&channel_modulation));
    m.impl("channel_modulation_backward", TORCH_BOX(&channel_modulation_backward));
}

} // namespace dasr_fast

#endif
