// SPDX-License-Identifier: MIT
#ifndef SECRETS_H
#define SECRETS_H

/*
 * secrets.h: shows valgrind which bytes are secret.
 *
 * A branch or an address that depends on uninitialised bytes is an error for
 * valgrind. So secrets are declared to be uninitialised: what valgrind then
 * reports is code whose time depends on them. Results are declared initialised
 * again where they would become public. Without valgrind this does nothing.
 */
#include <stddef.h>

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif

static inline void secret(const void *p, size_t len)
{
#ifdef VALGRIND_MAKE_MEM_UNDEFINED
    (void)VALGRIND_MAKE_MEM_UNDEFINED(p, len);
#endif
    (void)p;
    (void)len;
}

static inline void published(const void *p, size_t len)
{
#ifdef VALGRIND_MAKE_MEM_DEFINED
    (void)VALGRIND_MAKE_MEM_DEFINED(p, len);
#endif
    (void)p;
    (void)len;
}

#endif
