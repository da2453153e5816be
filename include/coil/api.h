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

#endif
