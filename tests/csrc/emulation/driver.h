// What `run_<op>.cpp` gets from the driver: arrays and options by name, as the op's binding to PyTorch gets them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "csrc/cuda/device.h"
#include "csrc/cuda/dense_features.h"

namespace dasr_fast {
namespace emulation {

// A tensor in memory of exactly its size.
struct Array {
    std::string type;  // As PyTorch calls it: float16.
    std::vector<std::int64_t> sizes;
    bool channels_last;
    void* memory;

    std::int64_t size(int dimension) const { return sizes.at(dimension); }

    template <typename T>
    T* data() const {
        return static_cast<T*>(memory);
    }
};

class Arguments {
public:
    std::map<std::string, std::string> options;
    std::map<std::string, Array> arrays;

    bool has(const std::string& name) const { return options.count(name) > 0 || arrays.count(name) > 0; }

    const Array& operator[](const std::string& name) const { return find(arrays, name); }

    // Null if the tensor was left out.
    template <typename T>
    T* data(const std::string& name) const {
        return arrays.count(name) > 0 ? arrays.at(name).data<T>() : nullptr;
    }

    std::int64_t integer(const std::string& name) const { return std::stoll(find(options, name)); }
    float real(const std::string& name) const { return std::stof(find(options, name)); }
    float real(const std::string& name, float otherwise) const { return has(name) ? real(name) : otherwise; }
    const std::string& text(const std::string& name) const { return find(options, name); }

private:
    template <typename Value>
    static const Value& find(const std::map<std::string, Value>& values, const std::string& name) {
        const auto found = values.find(name);
        if (found != values.end()) return found->second;
        std::fprintf(stderr, "driver: %s is missing\n", name.c_str());
        std::abort();
    }
};

// Sizes of a tensor [B, C, H, W].
inline Features features(const Array& x) {
    return {x.size(0), int(x.size(1)), int(x.size(2)), int(x.size(3)), x.channels_last};
}

using Run = std::function<void(const Arguments&)>;

// A global of this type makes an op known by its name.
struct Op {
    Op(const std::string& name, Run run);
};

// Calls `function` with a value of the type: for_type(x.type, [&](auto zero) { run<decltype(zero)>(...); }).
template <typename Function>
void for_type(const std::string& type, Function function) {
    if (type == "float32") return function(float{});
    if (type == "float16") return function(half_t{});
    if (type == "bfloat16") return function(bfloat16_t{});
    std::fprintf(stderr, "driver: no kernel is for %s\n", type.c_str());
    std::abort();
}

// An op of kernels for the type of a tensor: `function` gets a zero of that type, and the arguments.
template <typename Function>
Op op_of_type(const std::string& name, const std::string& tensor, Function function) {
    return Op(name, [=](const Arguments& arguments) {
        for_type(arguments[tensor].type, [&](auto zero) { function(zero, arguments); });
    });
}

}  // namespace emulation
}  // namespace dasr_fast
