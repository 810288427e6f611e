// The functions of CuPy's runtime and driver modules that device.cpp replaces: name, C signature, ours.
#pragma once

struct Entry {
    const char* name;
    const char* signature;
    void* function;
};

#define ENTRY(name, result, parameters, function) \
    { name, result "(" parameters "int __pyx_skip_dispatch)", reinterpret_cast<void*>(function) }
#define OBJECT "PyObject *"
#define POINTER "intptr_t "
#define INT "int "

static const Entry RUNTIME[] = {
    ENTRY("driverGetVersion", INT, "", cuda_version),
    ENTRY("runtimeGetVersion", INT, "", cuda_version),
    ENTRY("getDevice", INT, "", current_device),
    ENTRY("getDeviceCount", INT, "", device_count),
    ENTRY("setDevice", OBJECT, "int, ", set_device),
    ENTRY("getDeviceProperties", OBJECT, "int, ", device_properties),
    ENTRY("deviceGetAttribute", INT, "int, int, ", attribute),
    ENTRY("deviceSynchronize", OBJECT, "", waited),
    ENTRY("malloc", POINTER, "size_t, ", device_malloc),
    ENTRY("free", OBJECT, "intptr_t, ", device_free),
    ENTRY("hostAlloc", POINTER, "size_t, unsigned int, ", host_alloc),
    ENTRY("freeHost", OBJECT, "intptr_t, ", host_free),
    ENTRY("memGetInfo", OBJECT, "", memory_info),
    ENTRY("memcpy", OBJECT, "intptr_t, intptr_t, size_t, int, ", copy),
    ENTRY("memcpyAsync", OBJECT, "intptr_t, intptr_t, size_t, int, intptr_t, ", copy_async),
    ENTRY("memset", OBJECT, "intptr_t, int, size_t, ", fill),
    ENTRY("memsetAsync", OBJECT, "intptr_t, int, size_t, intptr_t, ", fill_async),
    ENTRY("pointerGetMemoryType", INT, "intptr_t, ", memory_type),
    ENTRY("streamCreate", POINTER, "", create),
    ENTRY("streamCreateWithFlags", POINTER, "unsigned int, ", create_with_flags),
    ENTRY("streamCreateWithPriority", POINTER, "unsigned int, int, ", create_with_priority),
    ENTRY("streamDestroy", OBJECT, "intptr_t, ", destroy),
    ENTRY("streamSynchronize", OBJECT, "intptr_t, ", waited_for),
    ENTRY("streamQuery", OBJECT, "intptr_t, ", is_done),
    ENTRY("streamIsCapturing", INT, "intptr_t, ", is_capturing),
    ENTRY("eventCreate", POINTER, "", create),
    ENTRY("eventCreateWithFlags", POINTER, "unsigned int, ", create_with_flags),
    ENTRY("eventDestroy", OBJECT, "intptr_t, ", destroy),
    ENTRY("eventRecord", OBJECT, "intptr_t, intptr_t, ", record),
    ENTRY("eventSynchronize", OBJECT, "intptr_t, ", waited_for),
    ENTRY("eventQuery", OBJECT, "intptr_t, ", is_done),
    ENTRY("eventElapsedTime", "float ", "intptr_t, intptr_t, ", elapsed),
    {"_ensure_context", "PyObject *(void)", reinterpret_cast<void*>(context)},
    {"streamWaitEvent",
     "PyObject *(intptr_t, intptr_t, int __pyx_skip_dispatch, "
     "struct __pyx_opt_args_13cupy_backends_4cuda_3api_7runtime_streamWaitEvent *__pyx_optional_args)",
     reinterpret_cast<void*>(stream_wait_event)},
};

static const Entry DRIVER[] = {
    ENTRY("moduleLoadData", POINTER, "PyObject *, ", load),
    ENTRY("moduleUnload", OBJECT, "intptr_t, ", unload),
    ENTRY("moduleGetFunction", POINTER, "intptr_t, PyObject *, ", get_function),
    ENTRY("moduleGetGlobal", POINTER, "intptr_t, PyObject *, ", get_global),
    ENTRY("funcGetAttribute", INT, "int, intptr_t, ", function_attribute),
    ENTRY("funcSetAttribute", OBJECT, "intptr_t, int, int, ", set_function_attribute),
    ENTRY("occupancyMaxActiveBlocksPerMultiprocessor", INT, "intptr_t, int, size_t, ", active_blocks),
    ENTRY("occupancyMaxPotentialBlockSize", OBJECT, "intptr_t, size_t, int, ", block_size),
    ENTRY("launchKernel", OBJECT,
          "intptr_t, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, "
          "intptr_t, intptr_t, intptr_t, ",
          launch),
};
