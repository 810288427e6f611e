// A convolution in C++ that knows nothing of Python: it reads golden vectors in their raw form, computes the output
// and every gradient in plain loops, and writes results to be judged by `python -m minidl.check verify`.
//
//     python -m minidl.check export conv2d --format raw --out vectors
//     c++ -std=c++17 -O1 conv2d.cpp -o conv2d && ./conv2d vectors results
//     python -m minidl.check verify vectors results
//
// -DBUG_FLIP turns the kernel around, as a true convolution would; -DBUG_BATCH forgets all images but the first in
// the gradient of the weight: `verify` finds both.

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& message) {
    std::fprintf(stderr, "conv2d: %s\n", message.c_str());
    std::exit(2);
}

// One group of manifest.txt.
struct Group {
    std::string id, operation;
    std::map<std::string, std::vector<std::string>> params;
    std::map<std::string, std::vector<long>> arrays;  // shapes
    std::map<std::string, std::vector<long>> results;
};

struct Manifest {
    std::string dtype;
    std::vector<Group> groups;
};

Manifest read_manifest(const fs::path& file) {
    std::ifstream in(file);
    std::string line, word, kind, storage;
    int version = 0;
    Manifest manifest;
    if (!(in >> word >> version >> kind >> storage >> manifest.dtype) || word != "minidl-golden" || version != 1)
        fail("no manifest: " + file.string());
    if (storage != "raw") fail("the vectors must be raw: --format raw");
    while (std::getline(in, line)) {
        std::istringstream fields(line);
        std::string record, name, role, dtype;
        if (!(fields >> record >> name)) continue;
        if (record == "group") {
            manifest.groups.emplace_back();
            manifest.groups.back().id = name;
            fields >> manifest.groups.back().operation;
            continue;
        }
        Group& group = manifest.groups.back();
        if (record == "param") {
            while (fields >> word) group.params[name].push_back(word);
        } else if (record == "array") {
            fields >> role >> dtype;
            for (long n; fields >> n;) group.arrays[name].push_back(n);
        } else if (record == "result") {
            fields >> dtype;
            for (long n; fields >> n;) group.results[name].push_back(n);
        }
    }
    return manifest;
}

// A number for both axes, or one for each.
std::pair<long, long> pair(const std::vector<std::string>& words) {
    return {std::stol(words.front()), std::stol(words.back())};
}

template <typename T>
struct Array {
    std::vector<long> shape;
    std::vector<T> data;

    Array() = default;
    explicit Array(std::vector<long> shape_) : shape(std::move(shape_)) {
        std::size_t size = 1;
        for (long n : shape) size *= static_cast<std::size_t>(n);
        data.assign(size, T(0));
    }
    T& operator()(long a, long b, long c, long d) {
        return data[static_cast<std::size_t>(((a * shape[1] + b) * shape[2] + c) * shape[3] + d)];
    }
};

template <typename T>
Array<T> read(const fs::path& vectors, const Group& group, const std::string& name) {
    Array<T> array(group.arrays.at(name));
    const auto bytes = static_cast<std::streamsize>(array.data.size() * sizeof(T));
    std::ifstream in(vectors / group.id / (name + ".bin"), std::ios::binary);
    if (!in.read(reinterpret_cast<char*>(array.data.data()), bytes)) fail("cannot read " + group.id + " " + name);
    return array;
}

template <typename T>
void write(const fs::path& results, const Group& group, const std::string& name, const Array<T>& array) {
    fs::create_directories(results / group.id);
    std::ofstream out(results / group.id / (name + ".bin"), std::ios::binary);
    const auto bytes = static_cast<std::streamsize>(array.data.size() * sizeof(T));
    if (!out.write(reinterpret_cast<const char*>(array.data.data()), bytes)) fail("cannot write " + name);
}

template <typename T>
void convolve(const fs::path& vectors, const fs::path& results, const Group& group) {
    auto x = read<T>(vectors, group, "input.x"), w = read<T>(vectors, group, "input.weight");
    auto gy = read<T>(vectors, group, "cotangent");
    const bool biased = group.arrays.count("input.bias") > 0;
    Array<T> bias = biased ? read<T>(vectors, group, "input.bias") : Array<T>({w.shape[0]});

    const auto [sh, sw] = pair(group.params.at("stride"));
    const auto [dh, dw] = pair(group.params.at("dilation"));
    const long groups = std::stol(group.params.at("groups").front());
    const auto& padding = group.params.at("padding");
    long top = 0, left = 0;
    if (padding.front() == "same") {
        top = dh * (w.shape[2] - 1) / 2, left = dw * (w.shape[3] - 1) / 2;
    } else if (padding.front() != "valid") {
        std::tie(top, left) = pair(padding);
    }

    Array<T> y(group.results.at("output")), gx(x.shape), gw(w.shape), gb(bias.shape);
    const long per_group = w.shape[0] / groups;  // outputs
    for (long n = 0; n < y.shape[0]; ++n)
        for (long o = 0; o < y.shape[1]; ++o)
            for (long i = 0; i < y.shape[2]; ++i)
                for (long j = 0; j < y.shape[3]; ++j) {
                    const T g = gy(n, o, i, j);
                    T sum = bias.data[static_cast<std::size_t>(o)];
                    gb.data[static_cast<std::size_t>(o)] += g;
                    for (long c = 0; c < w.shape[1]; ++c)
                        for (long u = 0; u < w.shape[2]; ++u)
                            for (long v = 0; v < w.shape[3]; ++v) {
                                const long row = i * sh + u * dh - top, column = j * sw + v * dw - left;
                                if (row < 0 || row >= x.shape[2] || column < 0 || column >= x.shape[3]) continue;
                                const long channel = o / per_group * w.shape[1] + c;
#ifdef BUG_FLIP
                                sum += x(n, channel, row, column) * w(o, c, w.shape[2] - 1 - u, w.shape[3] - 1 - v);
#else
                                sum += x(n, channel, row, column) * w(o, c, u, v);
#endif
                                gx(n, channel, row, column) += g * w(o, c, u, v);
#ifdef BUG_BATCH
                                if (n > 0) continue;
#endif
                                gw(o, c, u, v) += g * x(n, channel, row, column);
                            }
                    y(n, o, i, j) = sum;
                }
    write(results, group, "output", y);
    write(results, group, "grad.x", gx);
    write(results, group, "grad.weight", gw);
    if (biased) write(results, group, "grad.bias", gb);
}

int main(int argc, char** argv) {
    if (argc != 3) fail("usage: conv2d VECTORS RESULTS");
    const fs::path vectors = argv[1], results = argv[2];
    const Manifest manifest = read_manifest(vectors / "manifest.txt");
    for (const Group& group : manifest.groups) {
        if (group.operation != "conv2d") continue;
        if (manifest.dtype == "float32")
            convolve<float>(vectors, results, group);
        else
            convolve<double>(vectors, results, group);
    }
}
