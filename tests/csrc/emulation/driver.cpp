// driver OP seeds=N NAME=VALUE ... NAME@TYPE:SIZES:CHANNELS_LAST:SHIFT:FILE ...
//
// Runs an op's kernels with several orders of threads, on raw arrays that it reads from files, and writes the arrays
// back. Results that differ in a bit between the orders are an error. SHIFT is the address of the array modulo 16.
#include "driver.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace dasr_fast {
namespace emulation {

std::map<std::string, Run>& ops() {
    static std::map<std::string, Run> all;
    return all;
}

Op::Op(const std::string& name, Run run) { ops()[name] = std::move(run); }

namespace {

struct Stored {
    std::string name, file;
    std::vector<char> before, after;
    std::size_t shift;
    Array array;
};

Stored parse(const std::string& argument) {
    Stored stored;
    const auto at = argument.find('@');
    stored.name = argument.substr(0, at);
    std::istringstream fields(argument.substr(at + 1));
    std::string sizes, channels_last, shift, size;
    std::getline(fields, stored.array.type, ':');
    std::getline(fields, sizes, ':');
    std::getline(fields, channels_last, ':');
    std::getline(fields, shift, ':');
    std::getline(fields, stored.file);
    for (std::istringstream each(sizes); std::getline(each, size, ',');) {
        stored.array.sizes.push_back(std::stoll(size));
    }
    stored.array.channels_last = channels_last == "1";
    stored.shift = std::stoul(shift);
    std::ifstream file(stored.file, std::ios::binary);
    stored.before.assign(std::istreambuf_iterator<char>(file), {});
    return stored;
}

void run(const Run& op, Arguments& arguments, std::vector<Stored>& arrays) {
    std::vector<void*> memories;
    for (Stored& stored : arrays) {
        void* memory = nullptr;
        if (posix_memalign(&memory, 256, stored.before.size() + stored.shift) != 0) std::abort();
        memories.push_back(memory);
        stored.array.memory = static_cast<char*>(memory) + stored.shift;
        std::copy(stored.before.begin(), stored.before.end(), stored.array.data<char>());
        arguments.arrays[stored.name] = stored.array;
    }
    op(arguments);
    for (std::size_t i = 0; i < arrays.size(); ++i) {
        const char* memory = arrays[i].array.data<char>();
        arrays[i].after.assign(memory, memory + arrays[i].before.size());
        std::free(memories[i]);
    }
}

int main_of(int count, char** words) {
    Arguments arguments;
    std::vector<Stored> arrays;
    for (int i = 2; i < count; ++i) {
        const std::string word = words[i];
        const auto equals = word.find('='), at = word.find('@');
        if (at < equals) {
            arrays.push_back(parse(word));
        } else {
            arguments.options[word.substr(0, equals)] = word.substr(equals + 1);
        }
    }
    if (count < 2 || ops().count(words[1]) == 0) {
        std::fprintf(stderr, "driver: there is no such op\n");
        return 2;
    }
    if (arguments.has("multiprocessors")) multiprocessors = int(arguments.integer("multiprocessors"));
    if (arguments.has("most_shared_memory")) most_shared_memory = arguments.integer("most_shared_memory");
    for (seed = 0; seed < arguments.integer("seeds"); ++seed) {
        std::vector<Stored> previous = arrays;
        run(ops()[words[1]], arguments, arrays);
        for (std::size_t i = 0; i < arrays.size() && seed > 0; ++i) {
            if (arrays[i].after == previous[i].after) continue;
            std::fprintf(stderr, "emulation: %s depends on the order of threads\n", arrays[i].name.c_str());
            return 3;
        }
    }
    for (const Stored& stored : arrays) {
        std::ofstream(stored.file, std::ios::binary).write(stored.after.data(), std::streamsize(stored.after.size()));
    }
    return 0;
}

}  // namespace

}  // namespace emulation
}  // namespace dasr_fast

int main(int count, char** words) { return dasr_fast::emulation::main_of(count, words); }
