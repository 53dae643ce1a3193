// add_noise: Gaussian or Poisson noise made of normal numbers. An item is PIXELS pixels of an image, with all channels.
#include <algorithm>
#include <cstdint>

#include "instruction_set.h"
#include "types.h"

namespace dasr_fast {

constexpr int64_t PIXELS = 8192;

struct AddNoise {
    int64_t channels, pixels, items; // Of an image.
    bool grey, poisson; // Grey noise has one channel for all.
    float level;
    Type type;
    const void *x, *noise;
    void* y;
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include "functions.h"

namespace dasr_fast {
namespace {

// Counts that differ from the mean as `normal` does, in grey levels; see `reference/add_noise.py`.
inline Vector poisson(Vector light, Vector normal) {
    constexpr float PHOTONS = 256;
    const Vector mean = rounded(clamped(light, 0, 255)) * (PHOTONS / 255), root = square_root(mean);
    const Vector square = normal * normal, divisor = root < 1 ? splat(1) : root;
    Vector count = ((square + 2.0f) / divisor * (-1.0f / 72) + root) * normal + (square - 1.0f) * (1.0f / 6) + mean;
    count = floored(count + 0.5f);
    count = (count < 0) | (mean == 0) ? Vector{} : count;
    return (count - mean) * (255 / PHOTONS);
}

template <class T>
void add_noise_to(const AddNoise& p, int64_t image, int64_t begin, int64_t end) {
    const int64_t size = p.channels * p.pixels;
    const T *x = (const T*)p.x + image * size, *noise = (const T*)p.noise + image * (p.grey ? p.pixels : size);
    T* y = (T*)p.y + image * size;
    const float luma[3] = {0.299f, 0.587f, 0.114f}, share = 1.0f / (float)p.channels;
    for (int64_t i = begin; i < end; i += LANES) {
        const int64_t left = end - i;
        Vector added{};
        if (p.grey) {
            added = load(noise + i, left);
            if (p.poisson) {
                Vector light{};
                for (int64_t c = 0; c < p.channels; ++c)
                    light += load(x + c * p.pixels + i, left) * (p.channels == 3 ? luma[c] : share);
                added = poisson(light, added);
            }
        }
        for (int64_t c = 0; c < p.channels; ++c) {
            const int64_t at = c * p.pixels + i;
            const Vector value = load(x + at, left);
            if (!p.grey) {
                added = load(noise + at, left);
                if (p.poisson) added = poisson(value, added);
            }
            store(y + at, clamped(value + p.level * added, 0, 255), left);
        }
    }
}

} // namespace

namespace DASR_FAST_KERNELS {

void add_noise(const AddNoise& p, int64_t begin, int64_t end) {
    with_type(p.type, [&](auto element) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t first = item % p.items * PIXELS;
            add_noise_to<typename decltype(element)::type>(
                p, item / p.items, first, std::min(first + PIXELS, p.pixels));
        }
    });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(add_noise, AddNoise)

// Images [..., C, H, W], and noise of the same shape or [..., 1, H, W].
Tensor add_noise(Tensor image, Tensor noise, double level, bool poisson) {
    const Tensor x = torch::stable::contiguous(image), y = torch::stable::empty_like(x);
    noise = torch::stable::contiguous(noise);
    const int64_t dims = x.dim();
    AddNoise p{};
    p.channels = x.size(dims - 3), p.pixels = x.size(dims - 2) * x.size(dims - 1);
    p.items = (p.pixels + PIXELS - 1) / PIXELS;
    p.grey = noise.size(dims - 3) == 1, p.poisson = poisson, p.level = (float)level, p.type = type_of(x);
    p.x = x.const_data_ptr(), p.noise = noise.const_data_ptr(), p.y = y.mutable_data_ptr();
    run(best_add_noise(), p, x.numel() > 0 ? x.numel() / (p.channels * p.pixels) * p.items : 0);
    return y;
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) { m.impl("add_noise", TORCH_BOX(&add_noise)); }

} // namespace dasr_fast

#endif
