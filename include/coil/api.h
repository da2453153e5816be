// SPDX-License-Identifier: MIT
#ifndef COIL_API_H
#define COIL_API_H

/*
 * api.h: what every public header needs and nobody reads twice.
 *
 * COIL_API marks the functions a shared library exports; all else is hidden.
 */

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
 * The beginning of an options struct: its first field is its own size, the
 * others are 0, which means the default. Private: COIL_LOOP_OPTIONS_INIT and
 * its like are made of it. C++ gets a function: g++ -Wextra warns of a list
 * that leaves out fields.
 */
#ifdef __cplusplus
template <typename Options> inline Options coili_options_init()
{
    Options options = Options();
    options.size = sizeof(Options);
    return options;
}
#define COILI_OPTIONS_INIT(type) coili_options_init<type>()
#else
#define COILI_OPTIONS_INIT(type) \
    { \
        .size = sizeof(type) \
    }
#endif

#endif
