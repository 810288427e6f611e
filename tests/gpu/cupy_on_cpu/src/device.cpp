// Stands in for the CUDA runtime and driver underneath CuPy's Cython modules.
//
// Those modules call each other through function pointers kept in capsules, in `module.__pyx_capi__`.  install() puts
// capsules of ours in the place of those of cupy_backends.cuda.api.{runtime,driver}, before the rest of CuPy is
// imported.  The name of a capsule is the C signature of its function: where another CuPy has another signature,
// that is an ImportError here and not a crash.
//
// Device memory is host memory between two marked zones; a module is a shared object that build.py compiled.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <time.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <string>

// ---- what is counted ---------------------------------------------------------------------------------------------

static struct {
    long launches, copies, fills, uploads, downloads, waits;
    size_t used, peak;
} counted;
static int order;  // of threads and blocks: cpu::Order of kernel.h

static PyObject* none() { Py_RETURN_NONE; }
static PyObject* error(const char* message) {
    PyErr_SetString(PyExc_RuntimeError, message);
    return nullptr;
}

// ---- memory --------------------------------------------------------------------------------------------------------

static const size_t ZONE = 4096, TOTAL = size_t(8) << 30;

struct Allocation {
    size_t bytes;
    unsigned salt;  // where in `pattern` its zones begin
};
static std::map<intptr_t, Allocation> arrays;  // by address
static long overruns;                          // freed arrays whose zones had been written to

// What lies before and behind every array: NaN in each floating-point type, negative in each signed one.  Each word
// is another, and so is each array's part of it, or a kernel that copies NaN from one zone to another left no trace.
static unsigned char pattern[4 * 1022 + ZONE];

static void make_pattern() {
    for (uint32_t i = 0; i < sizeof pattern / 4; i++) {
        uint32_t word = 0xFFFF0000u | (0xFC01u + i % 1022);
        memcpy(pattern + 4 * i, &word, 4);
    }
}

static unsigned char* bytes_at(intptr_t p) { return reinterpret_cast<unsigned char*>(p); }

static void mark_zones(intptr_t p, const Allocation& array) {
    memcpy(bytes_at(p) - ZONE, pattern + 4 * array.salt, ZONE);
    memcpy(bytes_at(p) + array.bytes, pattern + 4 * array.salt, ZONE);
}

static bool zones_untouched(intptr_t p, const Allocation& array) {
    const unsigned char* right = pattern + 4 * array.salt;
    return !memcmp(bytes_at(p) - ZONE, right, ZONE) && !memcmp(bytes_at(p) + array.bytes, right, ZONE);
}

static bool on_device(intptr_t p, size_t bytes) {
    auto after = arrays.upper_bound(p);
    if (after == arrays.begin()) return false;
    --after;
    return p + intptr_t(bytes) <= after->first + intptr_t(after->second.bytes);
}

static intptr_t device_malloc(size_t bytes, int) {
    void* p = nullptr;
    if (counted.used + bytes > TOTAL || posix_memalign(&p, 4096, bytes + 2 * ZONE)) {
        error("cudaErrorMemoryAllocation: out of memory");
        return 0;
    }
    intptr_t array = reinterpret_cast<intptr_t>(p) + intptr_t(ZONE);
    memset(bytes_at(array), 0xFF, bytes);  // NaN, or -1: what is read before it is written shows
    static unsigned salt;
    salt = (salt + 101) % 1022;
    arrays[array] = {bytes, salt};
    mark_zones(array, arrays[array]);
    counted.used += bytes;
    if (counted.used > counted.peak) counted.peak = counted.used;
    return array;
}

static PyObject* device_free(intptr_t p, int) {
    if (!p) return none();
    auto found = arrays.find(p);
    if (found == arrays.end()) return error("free of a pointer that is no device array");
    if (!zones_untouched(p, found->second)) overruns++;
    counted.used -= found->second.bytes;
    arrays.erase(found);
    free(reinterpret_cast<void*>(p - intptr_t(ZONE)));
    return none();
}

static intptr_t host_alloc(size_t bytes, unsigned, int) {
    void* p = nullptr;
    if (posix_memalign(&p, 4096, bytes ? bytes : 1)) {
        error("out of pinned memory");
        return 0;
    }
    return reinterpret_cast<intptr_t>(p);
}

static PyObject* host_free(intptr_t p, int) {
    free(reinterpret_cast<void*>(p));
    return none();
}

static PyObject* memory_info(int) { return Py_BuildValue("nn", Py_ssize_t(TOTAL - counted.used), Py_ssize_t(TOTAL)); }

enum Direction { HOST_TO_HOST, UPLOAD, DOWNLOAD, ON_DEVICE };

static PyObject* copied(intptr_t to, intptr_t from, size_t bytes, int direction) {
    bool to_device = direction == UPLOAD || direction == ON_DEVICE;
    bool from_device = direction == DOWNLOAD || direction == ON_DEVICE;
    if (bytes && to_device && !on_device(to, bytes)) return error("memcpy: the target is not device memory");
    if (bytes && from_device && !on_device(from, bytes)) return error("memcpy: the source is not device memory");
    counted.uploads += direction == UPLOAD;
    counted.downloads += direction == DOWNLOAD;
    counted.copies += direction == ON_DEVICE;
    memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
    return none();
}

static PyObject* copy(intptr_t to, intptr_t from, size_t bytes, int direction, int) {
    counted.waits += direction == DOWNLOAD;
    return copied(to, from, bytes, direction);
}

static PyObject* copy_async(intptr_t to, intptr_t from, size_t bytes, int direction, intptr_t, int) {
    return copied(to, from, bytes, direction);
}

static PyObject* fill(intptr_t p, int byte, size_t bytes, int) {
    if (bytes && !on_device(p, bytes)) return error("memset: not device memory");
    counted.fills++;
    memset(reinterpret_cast<void*>(p), byte, bytes);
    return none();
}

static PyObject* fill_async(intptr_t p, int byte, size_t bytes, intptr_t, int) { return fill(p, byte, bytes, 0); }

static int memory_type(intptr_t p, int) { return on_device(p, 1) ? 2 : 1; }

// ---- the card, streams, events: everything has been done as soon as it was asked for -----------------------------

static int cuda_version(int) { return 13020; }
static int current_device(int) { return 0; }
static int device_count(int) { return 1; }
static PyObject* set_device(int device, int) {
    return device ? error("cudaErrorInvalidDevice: there is device 0 alone") : none();
}
static PyObject* context(void) { return none(); }

static int attribute(int which, int, int) {
    static const std::map<int, int> known = {
        {1, 1024}, {2, 1024}, {3, 1024}, {4, 64},        // threads of a block, and along x, y, z
        {5, 2147483647}, {6, 65535}, {7, 65535},         // blocks along x, y, z
        {8, 49152}, {97, 49152}, {10, 32}, {12, 65536},  // shared memory, warp, registers
        {13, 1500000}, {16, 4}, {39, 2048}, {41, 1},     // clock, multiprocessors, their threads, unified addresses
        {75, 9}, {76, 0},                                // compute capability
    };
    auto found = known.find(which);
    return found == known.end() ? 0 : found->second;
}

static PyObject* properties;
static PyObject* device_properties(int, int) {
    Py_INCREF(properties);
    return properties;
}

static PyObject* waited(int) {
    counted.waits++;
    return none();
}
static PyObject* waited_for(intptr_t, int) { return waited(0); }
static PyObject* is_done(intptr_t, int) { return PyLong_FromLong(0); }
static int is_capturing(intptr_t, int) { return 0; }

static intptr_t handles = 0x1000;
static intptr_t create(int) { return handles++; }
static intptr_t create_with_flags(unsigned, int) { return handles++; }
static intptr_t create_with_priority(unsigned, int, int) { return handles++; }
static PyObject* destroy(intptr_t, int) { return none(); }
static PyObject* stream_wait_event(intptr_t, intptr_t, int, void*) { return none(); }

static std::map<intptr_t, double> recorded;  // events, in milliseconds
static PyObject* record(intptr_t event, intptr_t, int) {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    recorded[event] = double(now.tv_sec) * 1e3 + double(now.tv_nsec) * 1e-6;
    return none();
}
static float elapsed(intptr_t from, intptr_t to, int) { return float(recorded[to] - recorded[from]); }

// ---- modules and kernels -------------------------------------------------------------------------------------------

static const char MARK[] = "ONCPU:";  // before the path of a shared object

struct Kernel {
    std::string name;
    const char* (*launch)(const unsigned* grid, const unsigned* block, unsigned shared, int order, void** arguments);
};

static intptr_t load(PyObject* image, int) {
    char* bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(image, &bytes, &size)) return 0;
    if (strncmp(bytes, MARK, strlen(MARK))) {
        error("machine code of a GPU cannot be loaded on the CPU");
        return 0;
    }
    void* module = dlopen(bytes + strlen(MARK), RTLD_NOW | RTLD_LOCAL);
    if (!module) error(dlerror());
    return reinterpret_cast<intptr_t>(module);
}

static PyObject* unload(intptr_t, int) { return none(); }

static intptr_t get_function(intptr_t module, PyObject* name, int) {
    const char* text = PyUnicode_AsUTF8(name);
    if (!text) return 0;
    void* found = dlsym(reinterpret_cast<void*>(module), (std::string("launch_") + text).c_str());
    if (!found) {
        PyErr_Format(PyExc_RuntimeError, "CUDA_ERROR_NOT_FOUND: there is no kernel %s", text);
        return 0;
    }
    return reinterpret_cast<intptr_t>(new Kernel{text, reinterpret_cast<decltype(Kernel::launch)>(found)});
}

static intptr_t get_global(intptr_t module, PyObject* name, int) {
    void* found = dlsym(reinterpret_cast<void*>(module), PyUnicode_AsUTF8(name));
    if (!found) error("CUDA_ERROR_NOT_FOUND: there is no such global");
    return reinterpret_cast<intptr_t>(found);
}

static int function_attribute(int which, intptr_t, int) { return which == 0 ? 1024 : which == 4 ? 32 : 0; }
static PyObject* set_function_attribute(intptr_t, int, int, int) { return none(); }
static int active_blocks(intptr_t, int, size_t, int) { return 8; }
static PyObject* block_size(intptr_t, size_t, int, int) { return Py_BuildValue("ii", 8, 256); }

static PyObject* launch(intptr_t function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared, intptr_t, intptr_t arguments, intptr_t,
                        int) {
    Kernel* kernel = reinterpret_cast<Kernel*>(function);
    unsigned grid[3] = {grid_x, grid_y, grid_z}, block[3] = {block_x, block_y, block_z};
    counted.launches++;
    const char* wrong = kernel->launch(grid, block, shared, order, reinterpret_cast<void**>(arguments));
    if (!wrong) return none();
    PyErr_Format(PyExc_RuntimeError, "kernel %s: %s", kernel->name.c_str(), wrong);
    return nullptr;
}

#include "entries.h"

// ---- what Python sees ----------------------------------------------------------------------------------------------

static bool replace(PyObject* module, const Entry& entry) {
    PyObject* api = PyObject_GetAttrString(module, "__pyx_capi__");
    if (!api) return false;
    PyObject* old = PyDict_GetItemString(api, entry.name);
    const char* signature = old ? PyCapsule_GetName(old) : "absent";
    bool same = old && !strcmp(signature, entry.signature);
    if (!same) {
        PyErr_Format(PyExc_ImportError, "CuPy's %s is \"%s\", not \"%s\"", entry.name, signature, entry.signature);
    } else {
        PyObject* ours = PyCapsule_New(entry.function, entry.signature, nullptr);
        same = ours && !PyDict_SetItemString(api, entry.name, ours);
        Py_XDECREF(ours);
    }
    Py_DECREF(api);
    return same;
}

static PyObject* py_install(PyObject*, PyObject* args) {
    PyObject *runtime, *driver;
    if (!PyArg_ParseTuple(args, "OOO", &runtime, &driver, &properties)) return nullptr;
    Py_INCREF(properties);
    for (const Entry& entry : RUNTIME)
        if (!replace(runtime, entry)) return nullptr;
    for (const Entry& entry : DRIVER)
        if (!replace(driver, entry)) return nullptr;
    return none();
}

static PyObject* py_counts(PyObject*, PyObject*) {
    return Py_BuildValue("{s:l,s:l,s:l,s:l,s:l,s:l,s:n,s:n}", "launches", counted.launches, "copies", counted.copies,
                         "fills", counted.fills, "uploads", counted.uploads, "downloads", counted.downloads, "waits",
                         counted.waits, "used", Py_ssize_t(counted.used), "peak", Py_ssize_t(counted.peak));
}

static PyObject* py_overruns(PyObject*, PyObject*) {  // since last asked, arrays that are still there among them
    long found = overruns;
    overruns = 0;
    for (const auto& array : arrays) {
        if (zones_untouched(array.first, array.second)) continue;
        found++;
        mark_zones(array.first, array.second);
    }
    return PyLong_FromLong(found);
}

static PyObject* py_overrun(PyObject*, PyObject* pointer) {  // whether the array at or around this address was
    auto after = arrays.upper_bound(PyLong_AsLong(pointer));
    if (after == arrays.begin()) return error("no device array");
    --after;
    return PyBool_FromLong(!zones_untouched(after->first, after->second));
}

static PyObject* py_uncount(PyObject*, PyObject*) {  // the last launch was one for the sake of a check
    counted.launches--;
    return none();
}

static PyObject* py_set_order(PyObject*, PyObject* value) {
    order = int(PyLong_AsLong(value));
    return PyErr_Occurred() ? nullptr : none();
}

static PyObject* py_attribute(PyObject*, PyObject* which) {
    return PyLong_FromLong(attribute(int(PyLong_AsLong(which)), 0, 0));
}
static PyObject* py_wait(PyObject*, PyObject*) { return waited(0); }
static PyObject* py_memory(PyObject*, PyObject*) { return memory_info(0); }

static PyMethodDef methods[] = {
    {"install", py_install, METH_VARARGS, nullptr},     {"counts", py_counts, METH_NOARGS, nullptr},
    {"overruns", py_overruns, METH_NOARGS, nullptr},    {"set_order", py_set_order, METH_O, nullptr},
    {"attribute", py_attribute, METH_O, nullptr},       {"wait", py_wait, METH_NOARGS, nullptr},
    {"memory", py_memory, METH_NOARGS, nullptr},        {"overrun", py_overrun, METH_O, nullptr},
    {"uncount", py_uncount, METH_NOARGS, nullptr},      {nullptr, nullptr, 0, nullptr},
};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "device", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};
PyMODINIT_FUNC PyInit_device(void) {
    make_pattern();
    return PyModule_Create(&definition);
}
