// da_conv: both branches of a degradation-aware convolution and the activation after them, and the gradients.
//
// A tile of pixels at a time: the depthwise result of all channels stays in the second-level cache and is multiplied
// there with the pointwise weights.
#include "da_conv.h"
#include "instruction_set.h"

#ifdef DASR_FAST_KERNELS

namespace dasr_fast {
namespace {

template <class T>
void forward_of_part(const DAConv& p, int64_t item) {
    const int64_t part = item % p.parts, channels = p.channels, channels_out = p.channels_out;
    const int64_t first = p.height * part / p.parts, last = p.height * (part + 1) / p.parts;
    const Sample<T> sample(p, item / p.parts);
    const float *gate = sample.gate.data(), *bias = sample.bias.data();
    T* y = (T*)p.y + sample.index * channels_out * p.height * p.width;
    const auto activated = [&](Vector value) { return p.activate ? leaky_relu(value, p.slope) : value; };

    if (p.channels_last) {
        const PixelsForward<T> forward(p, FORWARD_TILE);
        for_tiles(first, last, p.width, FORWARD_TILE, [&](const Tile& tile) {
            T* out = y + (tile.row * p.width + tile.column) * channels_out;
            forward.run(sample, tile, [&](int64_t pixel, int64_t o, Vector value) {
                store(out + pixel * channels_out + o, activated(value), channels_out - o);
            });
        });
        return;
    }
    const Scratch weight(packed_size(channels_out, channels));
    const Left left = pack([&](int64_t o, int64_t c) { return number((const T*)p.weight + o * channels + c); }, channels_out,
        channels, weight.data());
    const Scratch filtered(channels * tile_pitch(FORWARD_TILE));
    const Scratch padded(sample.padded_size(largest_tile(p.width, FORWARD_TILE)));
    for_tiles(first, last, p.width, FORWARD_TILE, [&](const Tile& tile) {
        const int64_t pitch = tile_pitch(tile.pixels()), start = tile.row * p.width + tile.column;
        const int64_t ahead = tile.pixels() + p.size / 2 * p.width;
        sample.filter_contiguous(tile, pitch, padded.data(), filtered.data());
        multiply(left, channels_out, filtered.data(), pitch, tile.pixels(), channels,
            [&](int64_t o, int64_t pixel, Vector value) {
                const int64_t offset = o * p.height * p.width + start + pixel, count = tile.pixels() - pixel;
                prefetch(sample.x, offset + ahead); // The next tile, while there is arithmetic to do.
                value += bias[o];
                if (p.gate) value += load(sample.x + offset, count) * gate[o];
                store(y + offset, activated(value), count);
            });
    });
}

// The gradient before the LeakyReLU at the end.
template <class T>
Vector read_grad(const DAConv& p, int64_t offset, int64_t count) {
    const Vector grad = load((const T*)p.grad + offset, count);
    return p.sign ? leaky_relu_backward(grad, load((const T*)p.sign + offset, count), p.slope) : grad;
}

// Gradients for weight, bias and gate, and that before the depthwise filter.
template <class T>
void pointwise_backward_of_part(const DAConv& p, int64_t item) {
    const int64_t part = item % p.parts, channels = p.channels, channels_out = p.channels_out;
    const int64_t first = p.height * part / p.parts, last = p.height * (part + 1) / p.parts, size = p.height * p.width;
    const Sample<T> sample(p, item / p.parts);
    const int64_t start_out = sample.index * channels_out * size;
    float* grad_filtered = p.grad_filtered + sample.index * channels * size;
    float* total_weight = p.grad_weight + item * channels_out * channels;
    float *total_bias = p.grad_bias + item * channels_out, *total_gate = p.gate ? p.grad_gate + item * channels : nullptr;
    std::memset(total_weight, 0, channels_out * channels * sizeof(float));
    std::memset(total_bias, 0, channels_out * sizeof(float));
    if (total_gate) std::memset(total_gate, 0, channels * sizeof(float));

    if (p.channels_last) {
        const int64_t pitch = whole_vectors(channels), pitch_out = whole_vectors(channels_out);
        const Scratch filtered(BACKWARD_TILE * pitch), grads((BACKWARD_TILE + ROWS) * pitch_out);
        const Scratch weight(channels_out * pitch);
        for (int64_t o = 0; o < channels_out; ++o)
            read_numbers((const T*)p.weight + o * channels, channels, weight.data() + o * pitch);
        for_tiles(first, last, p.width, BACKWARD_TILE, [&](const Tile& tile) {
            const int64_t start = tile.row * p.width + tile.column;
            for (int64_t pixel = 0; pixel < tile.pixels(); ++pixel)
                for (int64_t o = 0; o < channels_out; o += LANES) {
                    const int64_t count = channels_out - o, offset = (start + pixel) * channels_out + o;
                    const Vector grad = read_grad<T>(p, start_out + offset, count);
                    store(grads.data() + pixel * pitch_out + o, grad);
                    store(total_bias + o, load(total_bias + o, count) + grad, count);
                    if (total_gate)
                        store(total_gate + o, load(total_gate + o, count) + grad * load(sample.x + offset, count), count);
                }
            sample.filter_channels_last(tile, filtered.data());
            multiply(Left{grads.data(), ROWS * pitch_out, pitch_out, 1}, tile.pixels(), weight.data(), pitch, channels,
                channels_out, [&](int64_t pixel, int64_t c, Vector value) {
                    value = leaky_relu_backward(value, load(filtered.data() + pixel * pitch + c), p.slope);
                    store(grad_filtered + (start + pixel) * channels + c, value, channels - c);
                });
            multiply(Left{grads.data(), ROWS, 1, pitch_out}, channels_out, filtered.data(), pitch, channels,
                tile.pixels(), [&](int64_t o, int64_t c, Vector value) {
                    float* total = total_weight + o * channels + c;
                    store(total, load(total, channels - c) + value, channels - c);
                });
        });
        return;
    }
    const Scratch weight(packed_size(channels, channels_out));
    const Left left = pack([&](int64_t c, int64_t o) { return number((const T*)p.weight + o * channels + c); }, channels,
        channels_out, weight.data());
    const Scratch filtered(channels * tile_pitch(BACKWARD_TILE)), grads(channels_out * tile_pitch(BACKWARD_TILE));
    const Scratch padded(sample.padded_size(largest_tile(p.width, BACKWARD_TILE)));
    for_tiles(first, last, p.width, BACKWARD_TILE, [&](const Tile& tile) {
        const int64_t pitch = tile_pitch(tile.pixels()), start = tile.row * p.width + tile.column;
        for (int64_t o = 0; o < channels_out; ++o) {
            Vector bias = {}, gate = {};
            for (int64_t pixel = 0; pixel < tile.pixels(); pixel += LANES) {
                const int64_t count = tile.pixels() - pixel, offset = o * size + start + pixel;
                const Vector grad = read_grad<T>(p, start_out + offset, count);
                store(grads.data() + o * pitch + pixel, grad);
                bias += grad;
                if (total_gate) gate += grad * load(sample.x + offset, count);
            }
            total_bias[o] += sum(bias);
            if (total_gate) total_gate[o] += sum(gate);
        }
        sample.filter_contiguous(tile, pitch, padded.data(), filtered.data());
        multiply(left, channels, grads.data(), pitch, tile.pixels(), channels_out,
            [&](int64_t c, int64_t pixel, Vector value) {
                const int64_t offset = c * size + start + pixel, next = offset + tile.pixels();
                prefetch(sample.x, next + p.size / 2 * p.width); // The next tile, while there is arithmetic to do.
                prefetch((const T*)p.grad, start_out + next);
                prefetch((const T*)p.sign, start_out + next);
                value = leaky_relu_backward(value, load(filtered.data() + c * pitch + pixel), p.slope);
                store(grad_filtered + offset, value, tile.pixels() - pixel);
            });
        add_product_along_rows(grads.data(), channels_out, filtered.data(), channels, pitch, tile.pixels(), total_weight);
    });
}

// Gradients for x and kernel, from `grad_filtered`.
template <int K, class T>
void depthwise_backward_of_plane(const DAConv& p, int64_t plane) {
    const int64_t start = plane * p.height * p.width, ahead = rows_at_a_time(p.width) * p.width;
    const float gate = p.gate ? number((const T*)p.gate + plane) : 0.0f;
    float weights[K * K];
    read_weights<K>((const T*)p.kernel + plane * K * K, weights);
    filter_plane_backward<K>(
        [&](int64_t offset, int64_t count) { return load(p.grad_filtered + start + offset, count); }, p.height, p.width,
        weights, [&](int64_t offset, int64_t count) { return load((const T*)p.x + start + offset, count); },
        [&](int64_t offset, int64_t count, Vector value) {
            prefetch((const T*)p.x, start + offset + ahead);
            prefetch(p.grad_filtered, start + offset + ahead);
            if (p.gate) {
                prefetch((const T*)p.grad, start + offset + ahead);
                prefetch((const T*)p.sign, start + offset + ahead);
                value += read_grad<T>(p, start + offset, count) * gate;
            }
            store((T*)p.grad_x + start + offset, value, count);
        },
        p.grad_kernel + plane * K * K);
}

template <int K, class T>
void depthwise_backward_of_part(const DAConv& p, int64_t item) {
    const int64_t part = item % p.parts, channels = p.channels;
    const Sample<T> sample(p, item / p.parts);
    const int64_t start = sample.index * channels * p.height * p.width;
    filter_rows_channels_last_backward<K>(
        [&](int64_t offset, int64_t count) { return load(p.grad_filtered + start + offset, count); }, p.height, p.width,
        channels, p.height * part / p.parts, p.height * (part + 1) / p.parts, sample.filters.data(),
        [&](int64_t offset, int64_t count) { return load(sample.x + offset, count); },
        [&](int64_t row, int64_t column, int64_t c, Vector value) {
            const int64_t offset = start + (row * p.width + column) * channels + c, count = channels - c;
            if (p.gate) value += read_grad<T>(p, offset, count) * load(sample.gate.data() + c);
            store((T*)p.grad_x + offset, value, count);
        },
        p.grad_kernel + item * K * K * channels);
}

} // namespace

namespace DASR_FAST_KERNELS {

void da_conv(const DAConv& p, int64_t begin, int64_t end) {
    with_type(p.type, [&](auto element) {
        for (int64_t item = begin; item < end; ++item) forward_of_part<typename decltype(element)::type>(p, item);
    });
}

void da_conv_pointwise_backward(const DAConv& p, int64_t begin, int64_t end) {
    with_type(p.type, [&](auto element) {
        using T = typename decltype(element)::type;
        for (int64_t item = begin; item < end; ++item) pointwise_backward_of_part<T>(p, item);
    });
}

void da_conv_depthwise_backward(const DAConv& p, int64_t begin, int64_t end) {
    with_type(p.type, [&](auto element) {
        with_size(p.size, [&](auto size) {
            using T = typename decltype(element)::type;
            constexpr int K = decltype(size)::value;
            for (int64_t item = begin; item < end; ++item)
                p.channels_last ? depthwise_backward_of_part<K, T>(p, item) : depthwise_backward_of_plane<K, T>(p, item);
        });
    });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(da_conv, DAConv)
DASR_FAST_BEST(da_conv_pointwise_backward, DAConv)
DASR_FAST_BEST(da_conv_depthwise_backward, DAConv)

static DAConv problem(
    const Tensor& x, const Tensor& kernel, const Tensor& weight, const std::optional<Tensor>& gate, double negative_slope
) {
    DAConv p{};
    p.channels = x.size(1), p.channels_out = weight.size(0), p.height = x.size(2), p.width = x.size(3);
    p.size = kernel.size(3);
    p.channels_last = channels_last(x);
    p.type = type_of(x);
    p.slope = static_cast<float>(negative_slope);
    p.x = x.const_data_ptr(), p.kernel = kernel.const_data_ptr(), p.weight = weight.const_data_ptr();
    p.gate = pointer(gate);
    return p;
}

void da_conv(
    Tensor x, Tensor kernel, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> gate,
    double negative_slope, bool activate, Tensor y
) {
    DAConv p = problem(x, kernel, weight, gate, negative_slope);
    p.bias = pointer(bias), p.activate = activate, p.y = y.mutable_data_ptr();
    p.parts = parts_of(x.size(0), p.height, p.width);
    run(best_da_conv(), p, x.size(0) * p.parts);
}

void da_conv_backward(
    Tensor grad, Tensor x, Tensor kernel, Tensor weight, std::optional<Tensor> gate, std::optional<Tensor> y,
    double negative_slope, Tensor grad_filtered, Tensor grad_x, Tensor grad_kernel, Tensor grad_weight,
    Tensor grad_bias, std::optional<Tensor> grad_gate
) {
    DAConv p = problem(x, kernel, weight, gate, negative_slope);
    p.grad = grad.const_data_ptr(), p.sign = pointer(y), p.grad_x = grad_x.mutable_data_ptr();
    p.grad_filtered = static_cast<float*>(grad_filtered.mutable_data_ptr());
    p.grad_kernel = static_cast<float*>(grad_kernel.mutable_data_ptr());
    p.grad_weight = static_cast<float*>(grad_weight.mutable_data_ptr());
    p.grad_bias = static_cast<float*>(grad_bias.mutable_data_ptr());
    p.grad_gate = grad_gate.has_value() ? static_cast<float*>(grad_gate->mutable_data_ptr()) : nullptr;
    p.parts = x.size(0) > 0 ? grad_bias.size(0) / x.size(0) : 1;
    run(best_da_conv_pointwise_backward(), p, x.size(0) * p.parts);
    run(best_da_conv_depthwise_backward(), p, x.size(0) * (p.channels_last ? p.parts : p.channels));
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpu, CPU, m) {
    m.impl("da_conv", TORCH_BOX(&da_conv));
    m.impl("da_conv_backward", TORCH_BOX(&da_conv_backward));
}

} // namespace dasr_fast

#endif
