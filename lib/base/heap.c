// SPDX-License-Identifier: MIT
/*
 * heap.c: a 4-ary heap of deadlines.
 *
 * An entry holds the deadline and a pointer to two words of its owner. In the
 * first word the heap keeps the entry's index, so removing an entry from the
 * middle is as cheap as adding one. In the second word the heap keeps how many
 * entries were added before: that number orders owners with equal deadlines.
 * Owners need neither word while they wait for a timer. So a timer costs 16
 * bytes. A timer wheel is twice as fast, but rounds deadlines to its ticks; a
 * heap is exact to the nanosecond.
 *
 * The heap itself compares deadlines only: the numbers are in the owners, and
 * with many timers each look at an owner is a cache miss. So all entries of the
 * earliest deadline are taken at once, and then their owners are sorted.
 *
 * The entries are in chunks, so growing copies none of them: a million timers
 * cost 16 MB and never 24, also in an arena. The first entry has three unused
 * ones in front of it. So the four children of an entry are always in one
 * chunk, and are compared as an array.
 */
#include "heap.h"

#include <errno.h>
#include <string.h>

#include "alloc.h"
#include "check.h"

static struct coili_heap_entry *at(const struct coili_heap *h, size_t i)
{
    i += COILI_HEAP_UNUSED;
    return &h->chunks[i / COILI_HEAP_CHUNK][i % COILI_HEAP_CHUNK];
}

static uintptr_t *words_of(uintptr_t owner)
{
    return (uintptr_t *)(owner & ~(uintptr_t)1);
}

/* Write an entry, whose index is `i`, and the index to the owner. */
static void place(struct coili_heap_entry *to, size_t i,
                  struct coili_heap_entry e)
{
    *to = e;
    words_of(e.owner)[0] = (uintptr_t)i << 2 | COILI_TIMER_TAG;
}

/*
 * One chunk more. The table of chunks doubles when it is full; it is replaced
 * only when the new one is complete, so an error changes nothing.
 */
static int grow(struct coili_heap *h)
{
    if (h->chunks_n == h->chunks_max) {
        size_t max = h->chunks_max ? h->chunks_max * 2 : 8;
        void *chunks = coili_get(h->alloc, max * sizeof *h->chunks);
        if (!chunks)
            return -ENOMEM;
        if (h->chunks_n)
            memcpy(chunks, h->chunks, h->chunks_n * sizeof *h->chunks);
        coili_put(h->alloc, h->chunks, h->chunks_max * sizeof *h->chunks);
        h->chunks = chunks;
        h->chunks_max = max;
    }
    void *chunk = coili_get(h->alloc, COILI_HEAP_CHUNK *
                                          sizeof(struct coili_heap_entry));
    if (!chunk)
        return -ENOMEM;
    h->chunks[h->chunks_n++] = chunk;
    return 0;
}

/* Place `e` at `i` or, while it is due before the parent, further up. */
static void sift_up(struct coili_heap *h, size_t i, struct coili_heap_entry e)
{
    struct coili_heap_entry *to = at(h, i);
    while (i > 0) {
        struct coili_heap_entry *parent = at(h, (i - 1) / 4);
        if (parent->deadline <= e.deadline)
            break;
        place(to, i, *parent);
        to = parent;
        i = (i - 1) / 4;
    }
    place(to, i, e);
}

/*
 * Which of n entries is due first. The usual four are compared in pairs: no
 * processor could predict branches that depend on these comparisons, and the
 * compiler makes none of them.
 */
static size_t earliest(const struct coili_heap_entry *e, size_t n)
{
    if (COILI_LIKELY(n >= 4)) {
        size_t a = e[1].deadline < e[0].deadline;
        size_t b = 2 + (size_t)(e[3].deadline < e[2].deadline);
        return e[b].deadline < e[a].deadline ? b : a;
    }
    size_t least = 0;
    for (size_t i = 1; i < n; i++)
        if (e[i].deadline < e[least].deadline)
            least = i;
    return least;
}

/*
 * Place `e` at `i` or, while one of 4 children is due before, further down.
 *
 * The children of all four children, 16 in a row, are fetched before these are
 * compared: with many timers they are not in the cache. Some may lie in another
 * chunk, and to fetch a wrong address does no harm. (In a function of its own
 * gcc takes the prefetch for a call without effect.)
 */
static void sift_down(struct coili_heap *h, size_t i, struct coili_heap_entry e)
{
    struct coili_heap_entry *to = at(h, i);
    size_t child;
    while ((child = i * 4 + 1) < h->n) {
        struct coili_heap_entry *children = at(h, child);
        if (child * 4 + 1 < h->n) {
            const struct coili_heap_entry *next = at(h, child * 4 + 1);
            __builtin_prefetch(next);
            __builtin_prefetch(next + 4);
            __builtin_prefetch(next + 8);
            __builtin_prefetch(next + 12);
        }
        size_t least = earliest(children, h->n - child);
        if (e.deadline <= children[least].deadline)
            break;
        place(to, i, children[least]);
        to = &children[least];
        i = child + least;
    }
    place(to, i, e);
}

int coili_heap_push(struct coili_heap *h, int64_t deadline, uintptr_t owner)
{
    if (h->n + COILI_HEAP_UNUSED >= h->chunks_n * COILI_HEAP_CHUNK) {
        int err = grow(h);
        if (err < 0)
            return err;
    }
    struct coili_heap_entry e = { deadline, owner };
    words_of(owner)[1] = h->added++;
    sift_up(h, h->n++, e);
    return 0;
}

/*
 * The last entry fills the gap. It may come from another branch, so it may have
 * to go up as well as down.
 */
void coili_heap_remove(struct coili_heap *h, size_t i)
{
    coili_check(i < h->n, "a timer is not in the heap");
    struct coili_heap_entry last = *at(h, --h->n);
    if (i == h->n)
        return;
    if (i > 0 && last.deadline < at(h, (i - 1) / 4)->deadline)
        sift_up(h, i, last);
    else
        sift_down(h, i, last);
}

struct coili_heap_entry *coili_heap_first(const struct coili_heap *h)
{
    return h->n ? at(h, 0) : NULL;
}

/* ---- Taking ----------------------------------------------------------- */

struct taken {
    uintptr_t order, owner;
};

/* By insertion: there are at most 64, mostly one or two. */
static void sort(struct taken *taken, size_t n)
{
    for (size_t i = 0; i < n; i++)
        taken[i].order = words_of(taken[i].owner)[1];
    for (size_t i = 1; i < n; i++) {
        struct taken it = taken[i];
        size_t to = i;
        for (; to > 0 && taken[to - 1].order > it.order; to--)
            taken[to] = taken[to - 1];
        taken[to] = it;
    }
}

/*
 * Take entries of the earliest deadline, at most 64. All are removed before the
 * first look at an owner, so that there is time to fetch its memory.
 *
 * Result    their owners in the order of adding, linked by their first words
 */
static uintptr_t take_some(struct coili_heap *h)
{
    struct taken taken[64];
    size_t n = 0;
    int64_t deadline = at(h, 0)->deadline;
    do {
        taken[n++].owner = at(h, 0)->owner;
        coili_heap_remove(h, 0);
    } while (h->n && at(h, 0)->deadline == deadline && n < 64);
    if (n > 1)
        sort(taken, n);
    uintptr_t list = 0;
    while (n-- > 0) {
        words_of(taken[n].owner)[0] = list;
        list = taken[n].owner;
    }
    return list;
}

/* One list of two that are in the order of adding. */
static uintptr_t merge(uintptr_t a, uintptr_t b)
{
    uintptr_t merged = 0, *end = &merged;
    while (a && b) {
        uintptr_t *least = words_of(a)[1] < words_of(b)[1] ? &a : &b;
        *end = *least;
        end = words_of(*least);
        *least = *end;
    }
    *end = a ? a : b;
    return merged;
}

/*
 * Take the other entries of this deadline, too, and merge the lists: lists[i]
 * is empty, or a merger of 2^i lists.
 */
static uintptr_t take_many(struct coili_heap *h, int64_t deadline,
                           uintptr_t list)
{
    uintptr_t lists[8 * sizeof(size_t)] = { list };
    size_t used = 1;
    while (h->n && at(h, 0)->deadline == deadline) {
        size_t i = 0;
        for (list = take_some(h); i < used && lists[i]; i++) {
            list = merge(lists[i], list);
            lists[i] = 0;
        }
        if (i == used)
            used++;
        lists[i] = list;
    }
    list = 0;
    for (size_t i = 0; i < used; i++)
        list = merge(lists[i], list);
    return list;
}

uintptr_t coili_heap_take(struct coili_heap *h)
{
    int64_t deadline = at(h, 0)->deadline;
    uintptr_t list = take_some(h);
    if (COILI_LIKELY(!h->n || at(h, 0)->deadline != deadline))
        return list;
    return take_many(h, deadline, list);
}

void coili_heap_fini(struct coili_heap *h)
{
    for (size_t i = 0; i < h->chunks_n; i++)
        coili_put(h->alloc, h->chunks[i],
                  COILI_HEAP_CHUNK * sizeof(struct coili_heap_entry));
    coili_put(h->alloc, h->chunks, h->chunks_max * sizeof *h->chunks);
    *h = (struct coili_heap){ 0 };
}
