// SPDX-License-Identifier: MIT
#ifndef COIL_API_H
#define COIL_API_H

/*
 * api.h: the version, symbol visibility and C++ linkage of the public headers.
 *
 * Every other header includes it; a program does not need to. A shared library
 * exports the functions that are marked COIL_API and hides all others.
 */

/* Before any #include: the layout of frames is that of 64-bit systems. */
#if __SIZEOF_POINTER__ != 8
#error "coil needs a 64-bit system"
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COIL_VERSION_MAJOR 0
#define COIL_VERSION_MINOR 1
#define COIL_VERSION_PATCH 0

#define COIL_API __attribute__((visibility("default")))
#define COIL_NODISCARD __attribute__((warn_unused_result))

#ifdef __cplusplus
#define COIL_BEGIN_DECLS extern "C" {
#define COIL_END_DECLS }
#else
#define COIL_BEGIN_DECLS
#define COIL_END_DECLS
#endif

/*
 * Private: the version, and the size of the head of a frame. RUN, RUN_ON and
 * coil_loop_new() pass it to the library, which aborts if it was compiled with
 * other headers than the program.
 */
#define COILI_FRAME_HEAD 64
#define COILI_ABI \
    ((uint32_t)COIL_VERSION_MAJOR << 24 | (uint32_t)COIL_VERSION_MINOR << 16 | \
     (uint32_t)COILI_FRAME_HEAD)

/*
 * Private: the initialiser behind COIL_LOOP_OPTIONS_INIT and the other
 * COIL_..._OPTIONS_INIT. It sets the first field, `size`, to the size of the
 * struct, and every other field to 0, which means its default. In C++ it is a
 * function, since g++ -Wextra warns of an initialiser that leaves out fields.
 * A template must not have C linkage: extern "C++" is for programs that include
 * a header inside extern "C".
 */
#ifdef __cplusplus
extern "C++" {
template <typename Options> inline Options coili_options_init()
{
    Options options = Options();
    options.size = sizeof(Options);
    return options;
}
}
#define COILI_OPTIONS_INIT(type) coili_options_init<type>()
#else
#define COILI_OPTIONS_INIT(type) \
    { \
        .size = sizeof(type) \
    }
#endif

#endif
