// SPDX-License-Identifier: MIT
#ifndef COILI_ARENA_H
#define COILI_ARENA_H

/*
 * arena.h: blocks of any size out of one piece of memory. arena.c explains it.
 */

#include <stdbool.h>
#include <stddef.h>

struct coili_arena;

/*
 * Make an arena in the `bytes` bytes at `memory`, which the caller lends as
 * long as the arena is used. There is nothing to free.
 *
 * Result   the arena, inside `memory`; NULL if it is too small for one
 */
struct coili_arena *coili_arena_init(void *memory, size_t bytes);

/*
 * A block, aligned to 16; NULL if no free part of the arena is long enough.
 * coili_arena_put() is given the size that coili_arena_get() was given.
 */
void *coili_arena_get(struct coili_arena *a, size_t size);
void coili_arena_put(struct coili_arena *a, void *p, size_t size);

/* Bytes that are in no block. */
size_t coili_arena_free_bytes(const struct coili_arena *a);

/* True if `p` is in the memory that the arena gives out. */
bool coili_arena_owns(const struct coili_arena *a, const void *p);

#endif
