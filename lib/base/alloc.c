// SPDX-License-Identifier: MIT
/*
 * alloc.c: the memory of one loop.
 *
 * A loop allocates and frees frames and operations by the million, in few
 * sizes. malloc and free cost 9 of the 17 ns that a task takes; a free list per
 * size class costs 2. Blocks are carved from chunks. A freed block stays in the
 * free list of its class until the loop is closed: a service reaches its
 * working set once. With an arena the only chunk is the caller's memory, and
 * malloc is never called.
 *
 *     class       0    1    2 ...  63 |   64    65    66    67    68 ...
 *     bytes      16   32   48 ... 1024 | 1280  1536  1792  2048  2560 ...
 *
 * Above 1 KiB there are four classes to a doubling, up to 4 MiB. Without an
 * arena blocks above 4 KiB come from malloc one by one and go back to it.
 *
 * A freed block is marked in its first word, where a future keeps its count and
 * its kind. So in most cases awaiting it again, or freeing it again, is caught.
 */
#include "alloc.h"

#include <stdlib.h>

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
    unsigned cls = 64;
    while (cls < COILI_CLASSES && class_size(cls) < size)
        cls++;
    return cls;
}

void coili_alloc_init(struct coili_alloc *a, void *arena, size_t arena_bytes)
{
    *a = (struct coili_alloc){ .chunk_bytes = CHUNK_FIRST };
    if (!arena)
        return;
    uintptr_t start = ((uintptr_t)arena + 15) & ~(uintptr_t)15;
    uintptr_t end = (uintptr_t)arena + arena_bytes;
    a->from_arena = 1;
    a->arena = start;
    a->bump = (char *)start;
    a->bump_end = end > start ? (char *)end : (char *)start;
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
    if (a->from_arena)
        return 0;
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
    if (a->from_arena)
        a->taken += size;
    return p;
}

/* A block of its own from malloc, linked: coili_alloc_fini() frees it. */
static void *large_get(struct coili_alloc *a, size_t size)
{
    struct coili_chunk *c = malloc(sizeof *c + size);
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

static int is_large(const struct coili_alloc *a, size_t size)
{
    return COILI_ONE_BY_ONE ? !a->from_arena : !a->from_arena && size > LARGE;
}

void *coili_class_get_slow(struct coili_alloc *a, unsigned cls)
{
    size_t size = class_size(cls);
    return is_large(a, size) ? large_get(a, size) : carve(a, size);
}

void coili_class_put_slow(struct coili_alloc *a, void *p, unsigned cls)
{
    size_t size = class_size(cls);
    if (is_large(a, size)) {
        large_put(a, p, size);
        return;
    }
    struct coili_free *f = p;
    f->dead = COILI_DEAD;
    f->next = a->free[cls];
    a->free[cls] = f;
}

bool coili_alloc_owns(const struct coili_alloc *a, const void *p)
{
    uintptr_t at = (uintptr_t)p;
    if (a->from_arena)
        return at >= a->arena && at < (uintptr_t)a->bump_end;
    for (const struct coili_chunk *c = a->chunks; c; c = c->next)
        if (at - (uintptr_t)c < c->u.bytes)
            return true;
    /* Sizes are unknown here; callers ask for what begins a block. */
    for (const struct coili_chunk *c = a->large; c; c = c->next)
        if (at - (uintptr_t)c < 64)
            return true;
    return false;
}

void *coili_get(struct coili_alloc *a, size_t size)
{
    unsigned cls = coili_size_class(size);
    if (cls < COILI_CLASSES)
        return coili_class_get(a, cls);
    return a->from_arena ? NULL : large_get(a, size);
}

void coili_put(struct coili_alloc *a, void *p, size_t size)
{
    if (!p)
        return;
    unsigned cls = coili_size_class(size);
    if (cls < COILI_CLASSES)
        coili_class_put(a, p, cls);
    else
        large_put(a, p, size);
}
