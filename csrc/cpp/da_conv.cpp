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

void forward_of_part_in_tiles(Tiles& tiles, const DAConv& p, int64_t item) {
    const int64_t part = item % p.parts, channels_out = p.channels_out;
    const Sample<bfloat16> sample(p, item / p.parts);
    const PixelsForwardInTiles forward(p, FORWARD_TILE);
    bfloat16* y = (bfloat16*)p.y + sample.index * channels_out * p.height * p.width;
    for_tiles(p.height * part / p.parts, p.height * (part + 1) / p.parts, p.width, FORWARD_TILE, [&](const Tile& tile) {
        bfloat16* out = y + (tile.row * p.width + tile.column) * channels_out;
        forward.run(tiles, sample, tile, [&](int64_t pixel, int64_t o, Vector value) {
            store(out + pixel * channels_out + o, p.activate ? leaky_relu(value, p.slope) : value, channels_out - o);
        });
    });
}

// Where a part's sums over its pixels go; those without a gate have no `gate`.
struct Sums {
    float *weight, *bias, *gate;

    Sums(const DAConv& p, int64_t item)
        : weight(p.grad_weight + item * p.channels_out * p.channels), bias(p.grad_bias + item * p.channels_out),
          gate(p.gate ? p.grad_gate + item * p.channels : nullptr) {
        std::memset(weight, 0, p.channels_out * p.channels * sizeof(float));
        std::memset(bias, 0, p.channels_out * sizeof(float));
        if (gate) std::memset(gate, 0, p.channels * sizeof(float));
    }
};

// The products of a pointwise convolution's gradients in tiles, for BACKWARD_TILE pixels or less.
class PointwiseBackwardInTiles {
public:
    explicit PointwiseBackwardInTiles(const DAConv& p)
        : p_(p), channels_(p.tiles ? whole_depths(p.channels) : 0), channels_out_(p.tiles ? whole_depths(p.channels_out) : 0),
          filtered_(channels_ * PIXELS / 2), grads_(channels_out_ * PIXELS / 2), weight_(channels_ * channels_out_ / 2),
          turned_(channels_out_ * PITCH / 2), right_(channels_ * PIXELS / 2), sums_(channels_ * channels_out_),
          offsets_(channels_out_ / TILE_DEPTH * 2), zeros_(channels_ + channels_out_) {
        if (!p.tiles) return;
        std::memset((void*)filtered_.data(), 0, channels_ * PIXELS * sizeof(bfloat16));
        std::memset((void*)grads_.data(), 0, channels_out_ * PIXELS * sizeof(bfloat16));
        std::memset((void*)turned_.data(), 0, channels_out_ * PITCH * sizeof(bfloat16));
        std::memset((void*)right_.data(), 0, channels_ * PIXELS * sizeof(bfloat16));
        std::memset((void*)sums_.data(), 0, channels_ * channels_out_ * sizeof(float));
        std::memset((void*)zeros_.data(), 0, (channels_ + channels_out_) * sizeof(float));
        for (int64_t step = 0; step < channels_out_ / TILE_DEPTH; ++step) offsets()[step] = 64 * step;
        const bfloat16* weight = (const bfloat16*)p.weight;
        pack_rows([&](int64_t o) { return weight + o * p.channels; }, p.channels_out, p.channels, channels_out_ * TILE_COLUMNS,
            (bfloat16*)weight_.data());
    }

    bfloat16* filtered(int64_t pixel) const { return (bfloat16*)filtered_.data() + pixel * channels_; }
    bfloat16* grads(int64_t pixel) const { return (bfloat16*)grads_.data() + pixel * channels_out_; }
    int64_t pitch() const { return channels_; } // Elements of a pixel of `filtered`.

    // The product of gradients and weights: `emit(pixel, channel, value)`.
    template <class Emit>
    void multiply_weight(int64_t pixels, const Emit& emit) {
        alignas(64) float sums[BLOCK * TILE_COLUMNS];
        for (int64_t first = 0; first < pixels; first += BLOCK) {
            const int64_t count = pixels - first < BLOCK ? pixels - first : BLOCK;
            const bfloat16* right = (const bfloat16*)weight_.data();
            for (int64_t o = 0; o < p_.channels; o += TILE_COLUMNS, right += channels_out_ * TILE_COLUMNS) {
                multiply_rows(tiles_, count, grads(first), offsets(), channels_out_ * sizeof(bfloat16), right,
                    channels_out_ / TILE_DEPTH, sums);
                for (int64_t c = o; c < o + TILE_COLUMNS && c < p_.channels; c += LANES)
                    for (int64_t i = 0; i < count; ++i) emit(first + i, c, load(sums + i * TILE_COLUMNS + c - o));
            }
        }
    }

    // Adds the product of gradients and filtered inputs, along the pixels.
    void add_gradient(int64_t pixels) {
        const int64_t depth = whole_depths(pixels);
        const bfloat16* zeros = (const bfloat16*)zeros_.data();
        for (int64_t first = 0; first < depth; first += TILE_DEPTH) {
            const bfloat16* pointers[TILE_DEPTH];
            for (int64_t i = 0; i < TILE_DEPTH; ++i) pointers[i] = first + i < pixels ? grads(first + i) : zeros;
            for (int64_t o = 0; o < channels_out_; o += 16)
                turn_pixels(pointers, o, 16, (bfloat16*)turned_.data() + o * PITCH + first, PITCH);
        }
        pack_rows([&](int64_t pixel) { return filtered(pixel); }, pixels, channels_, depth * TILE_COLUMNS,
            (bfloat16*)right_.data());
        float* sums = sums_.data();
        for (int64_t o = 0; o < channels_out_; o += 32)
            for (int64_t c = 0; c < channels_; c += 32, sums += 32 * 32)
                add_products(tiles_, (const bfloat16*)turned_.data() + o * PITCH, PITCH * sizeof(bfloat16),
                    (const bfloat16*)right_.data() + c * depth, depth * TILE_COLUMNS, depth / TILE_DEPTH, sums);
    }

    // Puts what was added into weights [C_out, C].
    void write(float* grad_weight) const {
        for (int64_t o = 0; o < p_.channels_out; ++o)
            for (int64_t c = 0; c < p_.channels; c += LANES) {
                const int64_t block = o / 32 * (channels_ / 32) + c / 32, tile = o % 32 / 16 * 2 + c % 32 / 16;
                store(grad_weight + o * p_.channels + c,
                    load(sums_.data() + (block * 4 + tile) * 256 + o % 16 * 16 + c % 16), p_.channels - c);
            }
    }

private:
    static constexpr int64_t PIXELS = BACKWARD_TILE + BLOCK, PITCH = (BACKWARD_TILE / TILE_DEPTH | 1) * TILE_DEPTH;

    int64_t* offsets() const { return (int64_t*)offsets_.data(); }

    const DAConv& p_;
    Tiles tiles_;
    int64_t channels_, channels_out_; // In pairs of tiles; 0 if there are no tiles.
    Scratch filtered_, grads_; // [pixels][channels_], [pixels][channels_out_]
    Scratch weight_; // [channels_ / 16][channels_out_ / 32] right tiles
    Scratch turned_; // [channels_out_][PITCH]: gradients, pixels along the row.
    Scratch right_; // [channels_ / 16][pixels / 32] right tiles: filtered inputs.
    Scratch sums_; // [channels_out_ / 32][channels_ / 32][2][2] tiles of sums
    Scratch offsets_, zeros_;
};

// All gradients of a part of channels-last features. What the depthwise filter needs of the pointwise product's gradient
// stays in a window of rows.
template <int K, class T>
class PartBackward {
public:
    PartBackward(const DAConv& p, int64_t item)
        : p_(p), sample_(p, item / p.parts), sums_(p, item), first_(p.height * (item % p.parts) / p.parts),
          last_(p.height * (item % p.parts + 1) / p.parts), pitch_(whole_vectors(p.channels)),
          pitch_out_(whole_vectors(p.channels_out)),
          most_(p.width > 0 && p.width < BACKWARD_TILE ? BACKWARD_TILE / p.width : 1),
          start_(sample_.index * p.height * p.width), grads_((window() * p.width + ROWS) * pitch_out_),
          grad_filtered_(window() * p.width * p.channels + LANES), filtered_((BACKWARD_TILE + ROWS) * pitch_),
          weight_(p.channels_out * pitch_), grad_kernel_(p.grad_kernel + item * K * K * p.channels),
          in_tiles_(p) {
        std::memset((void*)weight_.data(), 0, p.channels_out * pitch_ * sizeof(float));
        for (int64_t o = 0; o < p.channels_out; ++o)
            read_numbers((const T*)p.weight + o * p.channels, p.channels, weight_.data() + o * pitch_);
        std::memset(grad_kernel_, 0, K * K * p.channels * sizeof(float));
    }

    void run() {
        const int64_t lowest = first_ > K / 2 ? first_ - K / 2 : 0;
        const int64_t end = last_ + K / 2 < p_.height ? last_ + K / 2 : p_.height;
        begin_ = lowest;
        int64_t ready = lowest, done = first_; // The next rows of either stage.
        while (done < last_) {
            const int64_t border = ready < first_ ? first_ : ready < last_ ? last_ : end;
            const int64_t next = ready + most_ < border ? ready + most_ : border;
            for_tiles(ready, next, p_.width, BACKWARD_TILE, [&](const Tile& tile) {
                pointwise(tile, ready >= first_ && ready < last_);
            });
            ready = next;
            const int64_t available = ready == end ? last_ : ready - K / 2 < last_ ? ready - K / 2 : last_;
            if (available <= done) continue;
            depthwise(done, available);
            done = available;
            keep(done - K / 2, ready);
        }
        if (p_.tiles) in_tiles_.write(sums_.weight);
    }

private:
    // Rows that one stage is ahead of the other, and the rows of a step.
    int64_t window() const { return most_ + 2 * (K / 2); }

    float* grads(int64_t row) const { return grads_.data() + (row - begin_) * p_.width * pitch_out_; }

    // Leaves the rows [first, end) in the window.
    void keep(int64_t first, int64_t end) {
        if (first <= begin_) return;
        const int64_t rows = end - first, row = p_.width * p_.channels, skipped = first - begin_;
        std::memmove((void*)grads_.data(), grads(first), rows * p_.width * pitch_out_ * sizeof(float));
        std::memmove((void*)grad_filtered_.data(), grad_filtered_.data() + skipped * row, rows * row * sizeof(float));
        begin_ = first;
    }

    // The same with products in tiles.
    void pointwise_in_tiles(const Tile& tile, bool owns) {
        const int64_t start = tile.row * p_.width + tile.column, channels = p_.channels, channels_out = p_.channels_out;
        float* tile_grads = grads(tile.row) + tile.column * pitch_out_;
        for (int64_t o = 0; o < channels_out; o += LANES) {
            const int64_t count = channels_out - o;
            Vector bias = {}, gate = {};
            for (int64_t pixel = 0; pixel < tile.pixels(); ++pixel) {
                const int64_t offset = (start + pixel) * channels_out + o;
                const Vector grad = load_gradient<T>(p_.grad, p_.sign, p_.slope, start_ * channels_out + offset, count);
                store(tile_grads + pixel * pitch_out_ + o, grad);
                store(in_tiles_.grads(pixel) + o, grad, count);
                bias += grad;
                if (sums_.gate) gate += grad * load(sample_.x + offset, count);
            }
            if (!owns) continue;
            store(sums_.bias + o, load(sums_.bias + o, count) + bias, count);
            if (sums_.gate) store(sums_.gate + o, load(sums_.gate + o, count) + gate, count);
        }
        sample_.filter_channels_last(tile, in_tiles_.pitch(), in_tiles_.filtered(0));
        float* out = grad_filtered_.data() + ((tile.row - begin_) * p_.width + tile.column) * channels;
        in_tiles_.multiply_weight(tile.pixels(), [&](int64_t pixel, int64_t c, Vector value) {
            value = leaky_relu_backward(value, load(in_tiles_.filtered(pixel) + c), p_.slope);
            store(out + pixel * channels + c, value, channels - c);
        });
        if (owns) in_tiles_.add_gradient(tile.pixels());
    }

    // The gradient before the depthwise filter, and those for weight, bias and gate if the part `owns` the tile.
    void pointwise(const Tile& tile, bool owns) {
        if (p_.tiles) return pointwise_in_tiles(tile, owns);
        const int64_t start = tile.row * p_.width + tile.column, channels = p_.channels, channels_out = p_.channels_out;
        float* tile_grads = grads(tile.row) + tile.column * pitch_out_;
        for (int64_t pixel = 0; pixel < tile.pixels(); ++pixel)
            for (int64_t o = 0; o < channels_out; o += LANES) {
                const int64_t count = channels_out - o, offset = (start + pixel) * channels_out + o;
                const Vector grad = load_gradient<T>(p_.grad, p_.sign, p_.slope, start_ * channels_out + offset, count);
                store(tile_grads + pixel * pitch_out_ + o, grad);
                if (!owns) continue;
                store(sums_.bias + o, load(sums_.bias + o, count) + grad, count);
                if (sums_.gate)
                    store(sums_.gate + o, load(sums_.gate + o, count) + grad * load(sample_.x + offset, count), count);
            }
        fill_block(tile_grads, tile.pixels(), pitch_out_);
        sample_.filter_channels_last(tile, pitch_, filtered_.data());
        float* out = grad_filtered_.data() + ((tile.row - begin_) * p_.width + tile.column) * channels;
        multiply(Left{tile_grads, ROWS * pitch_out_, pitch_out_, 1}, tile.pixels(), weight_.data(), pitch_, channels,
            channels_out, [&](int64_t pixel, int64_t c, Vector value) {
                const int64_t ahead = (start + pixel + tile.pixels()) * channels + c;
                prefetch(sample_.x, ahead + K / 2 * p_.width * channels); // The next tile, while there is arithmetic to do.
                prefetch((const T*)p_.grad, start_ * channels + ahead);
                prefetch((const T*)p_.sign, start_ * channels + ahead);
                value = leaky_relu_backward(value, load(filtered_.data() + pixel * pitch_ + c), p_.slope);
                store(out + pixel * channels + c, value, channels - c);
            });
        if (!owns) return;
        multiply(Left{tile_grads, ROWS, 1, pitch_out_}, channels_out, filtered_.data(), pitch_, channels, tile.pixels(),
            [&](int64_t o, int64_t c, Vector value) {
                float* total = sums_.weight + o * channels + c;
                store(total, load(total, channels - c) + value, channels - c);
            });
    }

    // Gradients for rows [first, last) of x, and theirs for kernel.
    void depthwise(int64_t first, int64_t last) {
        const float *window = grad_filtered_.data(), *gate = sample_.gate.data();
        const int64_t channels = p_.channels, skipped = begin_ * p_.width * channels;
        filter_rows_channels_last_backward<K>(
            [&](int64_t offset, int64_t count) { return load(window + offset - skipped, count); }, p_.height, p_.width,
            channels, first, last, sample_.filters.data(),
            [&](int64_t offset, int64_t count) { return load(sample_.x + offset, count); },
            [&](int64_t row, int64_t column, int64_t c, Vector value) {
                if (p_.gate) value += load(grads(row) + column * pitch_out_ + c) * load(gate + c);
                const int64_t offset = (start_ + row * p_.width + column) * channels + c;
                store((T*)p_.grad_x + offset, value, channels - c);
            },
            grad_kernel_);
    }

    const DAConv& p_;
    const Sample<T> sample_;
    const Sums sums_;
    int64_t first_, last_; // The part's rows.
    int64_t pitch_, pitch_out_; // Floats of a pixel.
    int64_t most_; // Rows of a step.
    int64_t start_; // Of the sample, in pixels.
    int64_t begin_ = 0; // The first row of the window.
    Scratch grads_, grad_filtered_; // Windows: [rows][width][pitch_out_], [rows][width][C].
    Scratch filtered_, weight_;
    float* grad_kernel_;
    PointwiseBackwardInTiles in_tiles_;
};

// Gradients for weight, bias and gate of a part of contiguous features, and that before the depthwise filter.
template <class T>
void pointwise_backward_of_part(const DAConv& p, int64_t item) {
    const int64_t part = item % p.parts, channels = p.channels, channels_out = p.channels_out;
    const int64_t first = p.height * part / p.parts, last = p.height * (part + 1) / p.parts, size = p.height * p.width;
    const Sample<T> sample(p, item / p.parts);
    const Sums sums(p, item);
    const int64_t start_out = sample.index * channels_out * size;
    float* grad_filtered = p.grad_filtered + sample.index * channels * size;
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
                const Vector grad = load_gradient<T>(p.grad, p.sign, p.slope, start_out + offset, count);
                store(grads.data() + o * pitch + pixel, grad);
                bias += grad;
                if (sums.gate) gate += grad * load(sample.x + offset, count);
            }
            sums.bias[o] += sum(bias);
            if (sums.gate) sums.gate[o] += sum(gate);
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
        add_product_along_rows(grads.data(), channels_out, filtered.data(), channels, pitch, tile.pixels(), sums.weight);
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
                value += load_gradient<T>(p.grad, p.sign, p.slope, start + offset, count) * gate;
            }
            store((T*)p.grad_x + start + offset, value, count);
        },
        p.grad_kernel + plane * K * K);
}

} // namespace

namespace DASR_FAST_KERNELS {

void da_conv(const DAConv& p, int64_t begin, int64_t end) {
    if (p.tiles) {
        Tiles tiles;
        for (int64_t item = begin; item < end; ++item) forward_of_part_in_tiles(tiles, p, item);
        return;
    }
    with_type(p.type, [&](auto element) {
        for (int64_t item = begin; item < end; ++item) forward_of_part<typename decltype(element)::type>(p, item);
    });
}

void da_conv_backward_channels_last(const DAConv& p, int64_t begin, int64_t end) {
    with_type(p.type, [&](auto element) {
        with_size(p.size, [&](auto size) {
            using T = typename decltype(element)::type;
            for (int64_t item = begin; item < end; ++item) PartBackward<decltype(size)::value, T>(p, item).run();
        });
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
            for (int64_t item = begin; item < end; ++item) depthwise_backward_of_plane<K, T>(p, item);
        });
    });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(da_conv, DAConv)
DASR_FAST_BEST(da_conv_backward_channels_last, DAConv)
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

Tensor da_conv(
    Tensor x, Tensor kernel, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> gate,
    double negative_slope, bool activate, bool tiles
) {
    const MemoryFormat format = memory_format(x);
    x = dense(x), kernel = torch::stable::contiguous(kernel), weight = torch::stable::contiguous(weight);
    bias = in_format(bias), gate = in_format(gate);
    const Tensor y = new_features(x, weight.size(0), format);
    DAConv p = problem(x, kernel, weight, gate, negative_slope);
    p.tiles = tiles && p.channels_last;
    p.bias = pointer(bias), p.activate = activate, p.y = y.mutable_data_ptr();
    p.parts = parts_of(x.size(0), p.height, p.width);
    run(best_da_conv(), p, x.size(0) * p.parts);
    return y;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> da_conv_backward(
    Tensor grad, Tensor x, Tensor kernel, Tensor weight, std::optional<Tensor> gate, std::optional<Tensor> y,
    double negative_slope, bool tiles
) {
    const MemoryFormat format = memory_format(x);
    grad = in_memory_format(grad, format), x = dense(x), kernel = torch::stable::contiguous(kernel);
    weight = torch::stable::contiguous(weight), gate = in_format(gate), y = in_format(y, format);
    DAConv p = problem(x, kernel, weight, gate, negative_slope);
    p.tiles = tiles && p.channels_last;
    p.parts = parts_of(x.size(0), p.height, p.width);
    const int64_t samples = x.size(0), all = samples * p.parts;
    const Tensor grad_x = new_features(x, p.channels, format), grad_kernel = new_kernel_sums(x, kernel, p.parts);
    const Tensor grad_weight = new_sums({all, p.channels_out, p.channels}), grad_bias = new_sums({all, p.channels_out});
    const Tensor grad_gate = new_sums({samples, gate.has_value() ? p.parts : 0, p.channels});
    const Tensor grad_filtered = new_sums({samples, p.channels_last ? 0 : p.channels, p.height, p.width});
    p.grad = grad.const_data_ptr(), p.sign = pointer(y), p.grad_x = grad_x.mutable_data_ptr();
    p.grad_filtered = p.channels_last ? nullptr : floats(grad_filtered);
    p.grad_kernel = floats(grad_kernel), p.grad_weight = floats(grad_weight), p.grad_bias = floats(grad_bias);
    p.grad_gate = gate.has_value() ? floats(grad_gate) : nullptr;
    if (p.channels_last) {
        run(best_da_conv_backward_channels_last(), p, all);
    } else {
        run(best_da_conv_pointwise_backward(), p, all);
        run(best_da_conv_depthwise_backward(), p, samples * p.channels);
    }
    return {
        grad_x, kernel_gradient(grad_kernel, x, kernel), added(grad_weight, 0, weight), added(grad_bias, 0, weight),
        gate.has_value() ? added(grad_gate, 1, x) : torch::stable::new_empty(x, {0}),
    };
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) {
    m.impl("da_conv", TORCH_BOX(&da_conv));
    m.impl("da_conv_backward", TORCH_BOX(&da_conv_backward));
}

} // namespace dasr_fast

#endif
