// SPDX-License-Identifier: MIT
/*
 * arena.c: blocks of any size out of one piece of memory.
 *
 * The arena counts its memory in units of 16 bytes. A run of free units is a
 * hole. A block that is freed is joined with the hole before it and the hole
 * behind it, so two holes never touch, and what was freed in small blocks
 * serves large ones. Getting and putting take constant time.
 *
 * A block has no header: its size is given again when it is freed. One bit per
 * unit is set for the first and the last unit of each hole: so the bits of the
 * unit before a block and of the unit behind it tell whether a hole is there.
 * The length of the hole is written in the hole:
 *
 *     hole of one unit    dead  next  prev
 *     hole of n units     dead  next  prev | LONG    n  ...  n | LONG
 *                         8     4     4              4       4 bytes
 *
 * In a hole of one unit `prev` is the last four bytes of the hole, too: without
 * LONG they tell that the hole has one unit. All numbers count units; 0 is no
 * hole, since the arena's own records are in unit 0.
 *
 * Holes are linked in bins by length, with the classes of alloc.h: a hole is in
 * the bin of the longest class that it can serve. Every hole of a bin above the
 * block's is long enough. Holes in the block's own bin fit better, but above
 * 1 KiB some may be too short: only the first LOOKS of them are tried. In the
 * last bin all holes are tried: they have 4 MiB or more, and are few. A hole is
 * linked as the first of its bin, so a block that was just freed is found again
 * for the same size.
 */
#include "arena.h"

#include <stdint.h>
#include <string.h>

#include "alloc.h"

#define UNIT 16u
#define LONG 0x80000000u
#define LOOKS 16
#define UNITS_MOST 0x7fffffffu /* 32 GiB; the rest of the memory is not used */

struct coili_arena {
    uint64_t filled[2]; /* bit b: there are holes in bin b */
    uint32_t bins[COILI_CLASSES];
    uint32_t first, end; /* the units that are given out; from `memory` on */
    size_t free_units;
    uint64_t edges[]; /* bit u: unit u is the first or last one of a hole */
};

struct hole {
    uint64_t dead;
    uint32_t next, prev; /* in its bin */
    uint32_t n;          /* units; only if `prev` has LONG */
};

_Static_assert(sizeof(struct coili_arena) % UNIT == 0, "blocks are aligned");
_Static_assert(COILI_CLASSES <= 128, "a bit for each bin");

/* The arena is in unit 0. */
static char *unit_at(const struct coili_arena *a, uint32_t u)
{
    return (char *)(uintptr_t)a + (size_t)u * UNIT;
}

static struct hole *hole_at(const struct coili_arena *a, uint32_t u)
{
    return (struct hole *)(void *)unit_at(a, u);
}

/* The last four bytes of unit `u`. */
static uint32_t *last_word(const struct coili_arena *a, uint32_t u)
{
    return (uint32_t *)(void *)(unit_at(a, u + 1) - 4);
}

static bool is_edge(const struct coili_arena *a, uint32_t u)
{
    return a->edges[u / 64] >> u % 64 & 1;
}

static void set_edges(struct coili_arena *a, uint32_t u, uint32_t n)
{
    uint32_t last = u + n - 1;
    a->edges[u / 64] |= (uint64_t)1 << u % 64;
    a->edges[last / 64] |= (uint64_t)1 << last % 64;
}

static void clear_edges(struct coili_arena *a, uint32_t u, uint32_t n)
{
    uint32_t last = u + n - 1;
    a->edges[u / 64] &= ~((uint64_t)1 << u % 64);
    a->edges[last / 64] &= ~((uint64_t)1 << last % 64);
}

/* ---- Holes ------------------------------------------------------------ */

static uint32_t hole_units(const struct coili_arena *a, uint32_t u)
{
    const struct hole *h = hole_at(a, u);
    return h->prev & LONG ? h->n : 1;
}

static void hole_link(struct coili_arena *a, uint32_t u, uint32_t n)
{
    unsigned bin = coili_size_class_below((size_t)n * UNIT);
    struct hole *h = hole_at(a, u);
    h->dead = COILI_DEAD;
    h->next = a->bins[bin];
    h->prev = 0;
    if (n > 1) {
        h->prev = LONG;
        h->n = n;
        *last_word(a, u + n - 1) = n | LONG;
    }
    if (h->next)
        hole_at(a, h->next)->prev = u | (hole_at(a, h->next)->prev & LONG);
    a->bins[bin] = u;
    a->filled[bin / 64] |= (uint64_t)1 << bin % 64;
    set_edges(a, u, n);
}

static void hole_unlink(struct coili_arena *a, uint32_t u, uint32_t n)
{
    unsigned bin = coili_size_class_below((size_t)n * UNIT);
    const struct hole *h = hole_at(a, u);
    uint32_t next = h->next, prev = h->prev & ~LONG;
    if (next)
        hole_at(a, next)->prev = prev | (hole_at(a, next)->prev & LONG);
    if (prev)
        hole_at(a, prev)->next = next;
    else
        a->bins[bin] = next;
    if (!a->bins[bin])
        a->filled[bin / 64] &= ~((uint64_t)1 << bin % 64);
    clear_edges(a, u, n);
}

/* The first bin from `bin` on that has holes; COILI_CLASSES: there is none. */
static unsigned filled_bin(const struct coili_arena *a, unsigned bin)
{
    for (unsigned i = bin / 64; i < 2; i++) {
        uint64_t bits = a->filled[i];
        if (i == bin / 64)
            bits &= ~(uint64_t)0 << bin % 64;
        if (bits)
            return i * 64 + (unsigned)__builtin_ctzll(bits);
    }
    return COILI_CLASSES;
}

/* A hole of at least `n` units, or 0. */
static uint32_t find(const struct coili_arena *a, uint32_t n)
{
    unsigned bin = coili_size_class_below((size_t)n * UNIT);
    bool is_last = bin == COILI_CLASSES - 1;
    uint32_t u = a->bins[bin];
    for (int looks = 1; u && hole_units(a, u) < n; looks++)
        u = looks < LOOKS || is_last ? hole_at(a, u)->next : 0;
    if (u)
        return u;
    bin = filled_bin(a, bin + 1);
    return bin < COILI_CLASSES ? a->bins[bin] : 0;
}

/* ---- Blocks ----------------------------------------------------------- */

/* Units for `size` bytes; 0 if no arena has so many. */
static uint32_t units_of(size_t size)
{
    if (size > (size_t)UNITS_MOST * UNIT)
        return 0;
    return size ? (uint32_t)((size + UNIT - 1) / UNIT) : 1;
}

void *coili_arena_get(struct coili_arena *a, size_t size)
{
    uint32_t n = units_of(size), u = n ? find(a, n) : 0;
    if (!u)
        return NULL;
    uint32_t has = hole_units(a, u);
    hole_unlink(a, u, has);
    if (has > n)
        hole_link(a, u + n, has - n);
    a->free_units -= n;
    return unit_at(a, u);
}

/* `edges` has no bit for what is outside of the units that are given out. */
void coili_arena_put(struct coili_arena *a, void *p, size_t size)
{
    uint32_t u = (uint32_t)(((char *)p - (char *)a) / UNIT);
    uint32_t n = units_of(size);
    a->free_units += n;
    ((struct hole *)p)->dead = COILI_DEAD;
    if (u > a->first && is_edge(a, u - 1)) {
        uint32_t last = *last_word(a, u - 1);
        uint32_t before = last & LONG ? last & ~LONG : 1;
        u -= before;
        hole_unlink(a, u, before);
        n += before;
    }
    if (u + n < a->end && is_edge(a, u + n)) {
        uint32_t behind = hole_units(a, u + n);
        hole_unlink(a, u + n, behind);
        n += behind;
    }
    hole_link(a, u, n);
}

/* ---- The arena -------------------------------------------------------- */

/* Its struct and the bits come first, in units that are never given out. */
struct coili_arena *coili_arena_init(void *memory, size_t bytes)
{
    uintptr_t start = ((uintptr_t)memory + UNIT - 1) & ~(uintptr_t)(UNIT - 1);
    size_t skipped = start - (uintptr_t)memory;
    size_t units = bytes > skipped ? (bytes - skipped) / UNIT : 0;
    if (units > UNITS_MOST)
        units = UNITS_MOST;
    size_t words = (units + 63) / 64;
    size_t own = sizeof(struct coili_arena) + words * sizeof(uint64_t);
    size_t first = (own + UNIT - 1) / UNIT;
    if (first >= units)
        return NULL;
    struct coili_arena *a = (struct coili_arena *)start;
    memset(a, 0, own);
    a->first = (uint32_t)first;
    a->end = (uint32_t)units;
    a->free_units = units - first;
    hole_link(a, a->first, a->end - a->first);
    return a;
}

size_t coili_arena_free_bytes(const struct coili_arena *a)
{
    return a->free_units * UNIT;
}

bool coili_arena_owns(const struct coili_arena *a, const void *p)
{
    uintptr_t at = (uintptr_t)p;
    return at >= (uintptr_t)unit_at(a, a->first) &&
           at < (uintptr_t)unit_at(a, a->end);
}
