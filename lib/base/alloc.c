// SPDX-License-Identifier: MIT
/*
 * alloc.c: the memory of one loop.
 *
 * A loop allocates and frees frames and operations by the million, in few
 * sizes. malloc and free cost 9 of the 17 ns that a task takes; a free list per
 * size class costs 2. Blocks are carved from chunks. A freed block stays in the
 * free list of its class until the loop is closed: a service reaches its
 * working set once.
 *
 *     class       0    1    2 ...  63 |   64    65    66    67    68 ...
 *     bytes      16   32   48 ... 1024 | 1280  1536  1792  2048  2560 ...
 *
 * Above 1 KiB there are four classes to a doubling, up to 4 MiB. Without an
 * arena blocks above 4 KiB come from malloc one by one and go back to it.
 *
 * With an arena malloc is never called, so freed memory must serve other sizes,
 * too. Blocks above 1 KiB go back to the arena at once, which joins them with
 * their neighbours (arena.c). Smaller blocks stay in their free lists until the
 * arena has no room for a block: then all of them go back, and the arena is
 * asked again. Each free of a block gives it back at most once, so a program
 * without memory does not search the same free blocks again and again.
 *
 * A freed block is marked in its first word, where a future keeps its count and
 * its kind. So in most cases awaiting it again, or freeing it again, is caught.
 */
#include "alloc.h"

#include <stdlib.h>

#include "arena.h"
#include "check.h"

#define CHUNK_FIRST (16 * 1024)
#define CHUNK_MOST (1024 * 1024)
#define LARGE (4 * 1024)
_Static_assert(LARGE + 16 <= CHUNK_FIRST, "a chunk holds any block carved");

struct coili_chunk {
    struct coili_chunk *next;
    union {
        size_t bytes;              /* of a chunk that is carved */
        struct coili_chunk **prev; /* of a block of its own */
    } u;
};
_Static_assert(sizeof(struct coili_chunk) == 16, "blocks are aligned to 16");

static size_t class_size(unsigned cls)
{
    if (cls < 64)
        return ((size_t)cls + 1) * 16;
    unsigned doubling = (cls - 64) / 4, step = (cls - 64) % 4;
    return ((size_t)1024 << doubling) / 4 * (5 + step);
}

unsigned coili_size_class_slow(size_t size)
{
    if (size == 0)
        return 0;
    return size > class_size(COILI_CLASSES - 1)
               ? COILI_CLASSES
               : coili_size_class_below(size - 1) + 1;
}

static void count_arena(struct coili_alloc *a)
{
    a->taken = a->arena_bytes - coili_arena_free_bytes(a->arena);
}

void coili_alloc_init(struct coili_alloc *a, void *arena, size_t arena_bytes)
{
    *a = (struct coili_alloc){ .chunk_bytes = CHUNK_FIRST };
    if (!arena)
        return;
    a->from_arena = true;
    a->arena_bytes = arena_bytes;
    a->arena = coili_arena_init(arena, arena_bytes);
    if (a->arena)
        count_arena(a);
}

void coili_alloc_fini(struct coili_alloc *a)
{
    struct coili_chunk *lists[] = { a->chunks, a->large };
    for (size_t i = 0; i < 2; i++)
        for (struct coili_chunk *c = lists[i], *next; c; c = next) {
            next = c->next;
            free(c);
        }
    *a = (struct coili_alloc){ 0 };
}

void coili_alloc_move(struct coili_alloc *to, struct coili_alloc *from)
{
    *to = *from;
    if (to->large)
        to->large->u.prev = &to->large;
}

/* Put the rest of the old chunk into free lists, in blocks up to 1 KiB. */
static void recycle_rest(struct coili_alloc *a)
{
    while (a->bump_end - a->bump >= 16) {
        size_t rest = (size_t)(a->bump_end - a->bump);
        unsigned cls = rest >= 1024 ? 63 : (unsigned)(rest / 16) - 1;
        coili_class_put(a, a->bump, cls);
        a->bump += class_size(cls);
    }
}

/*
 * Carve from a new chunk, twice as large as the last one. True if there is one.
 * The rest of the old chunk is recycled only when malloc has succeeded.
 */
static int new_chunk(struct coili_alloc *a)
{
    size_t bytes = a->chunk_bytes;
    struct coili_chunk *c = malloc(bytes);
    if (!c)
        return 0;
    recycle_rest(a);
    c->next = a->chunks;
    c->u.bytes = bytes;
    a->chunks = c;
    a->taken += bytes;
    a->bump = (char *)c + 16;
    a->bump_end = (char *)c + bytes;
    if (a->chunk_bytes < CHUNK_MOST)
        a->chunk_bytes *= 2;
    return 1;
}

static void *carve(struct coili_alloc *a, size_t size)
{
    if ((size_t)(a->bump_end - a->bump) < size && !new_chunk(a))
        return NULL;
    void *p = a->bump;
    a->bump += size;
    return p;
}

/* A block of its own from malloc, linked: coili_alloc_fini() frees it. */
static void *large_get(struct coili_alloc *a, size_t size)
{
    struct coili_chunk *c = NULL;
    if (size <= PTRDIFF_MAX - sizeof *c)
        c = malloc(sizeof *c + size);
    if (!c)
        return NULL;
    c->next = a->large;
    c->u.prev = &a->large;
    if (c->next)
        c->next->u.prev = &c->next;
    a->large = c;
    a->taken += size;
    return c + 1;
}

static void large_put(struct coili_alloc *a, void *p, size_t size)
{
    struct coili_chunk *c = (struct coili_chunk *)p - 1;
    *c->u.prev = c->next;
    if (c->next)
        c->next->u.prev = c->u.prev;
    a->taken -= size;
    free(c);
}

static bool is_large(size_t size)
{
    return COILI_ONE_BY_ONE || size > LARGE;
}

/* ---- The arena -------------------------------------------------------- */

static void arena_put(struct coili_alloc *a, void *p, size_t size)
{
    coili_arena_put(a->arena, p, size);
    count_arena(a);
}

/* Give the blocks of all free lists back. True if there were any. */
static bool empty_lists(struct coili_alloc *a)
{
    bool any = false;
    for (unsigned cls = 0; cls < COILI_SMALL_CLASSES; cls++) {
        struct coili_free *f;
        while ((f = a->free[cls])) {
            a->free[cls] = f->next;
            arena_put(a, f, class_size(cls));
            any = true;
        }
    }
    return any;
}

static void *arena_get(struct coili_alloc *a, size_t size)
{
    if (!a->arena)
        return NULL;
    void *p = coili_arena_get(a->arena, size);
    if (!p && empty_lists(a))
        p = coili_arena_get(a->arena, size);
    count_arena(a);
    return p;
}

/* ---- Classes ---------------------------------------------------------- */

void *coili_class_get_slow(struct coili_alloc *a, unsigned cls)
{
    size_t size = class_size(cls);
    if (a->from_arena)
        return arena_get(a, size);
    return is_large(size) ? large_get(a, size) : carve(a, size);
}

void coili_class_put_slow(struct coili_alloc *a, void *p, unsigned cls)
{
    size_t size = class_size(cls);
    if (a->from_arena && cls >= COILI_SMALL_CLASSES) {
        arena_put(a, p, size);
    } else if (!a->from_arena && is_large(size)) {
        large_put(a, p, size);
    } else {
        struct coili_free *f = p;
        f->dead = COILI_DEAD;
        f->next = a->free[cls];
        a->free[cls] = f;
    }
}

bool coili_alloc_owns(const struct coili_alloc *a, const void *p)
{
    uintptr_t at = (uintptr_t)p;
    if (a->from_arena)
        return coili_arena_owns(a->arena, p);
    for (const struct coili_chunk *c = a->chunks; c; c = c->next)
        if (at - (uintptr_t)c < c->u.bytes)
            return true;
    /* Sizes are unknown here; callers ask for what begins a block. */
    for (const struct coili_chunk *c = a->large; c; c = c->next)
        if (at - (uintptr_t)c < 64)
            return true;
    return false;
}

/* ---- By size ---------------------------------------------------------- */

/*
 * The arena takes any size, so there large blocks are not rounded up to their
 * class.
 */
static bool has_class(const struct coili_alloc *a, unsigned cls)
{
    return cls < COILI_SMALL_CLASSES || (!a->from_arena && cls < COILI_CLASSES);
}

void *coili_get(struct coili_alloc *a, size_t size)
{
    unsigned cls = coili_size_class(size);
    if (has_class(a, cls))
        return coili_class_get(a, cls);
    return a->from_arena ? arena_get(a, size) : large_get(a, size);
}

void coili_put(struct coili_alloc *a, void *p, size_t size)
{
    if (!p)
        return;
    unsigned cls = coili_size_class(size);
    if (has_class(a, cls))
        coili_class_put(a, p, cls);
    else if (a->from_arena)
        arena_put(a, p, size);
    else
        large_put(a, p, size);
}
