// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_heap.c: the heap of deadlines against a list that is searched.
 *
 * What breaks in such a heap is an owner's place after others have moved, so
 * every place is compared after every change.
 */
#include "test.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/heap.h"

enum { OWNERS = 3000 };  // more than one table of chunks holds

static struct coili_alloc alloc;
static struct coili_heap heap;
static uintptr_t owners[OWNERS][2]; // the place, the order
static int64_t deadlines[OWNERS];
static bool in_heap[OWNERS];

static void set_up(void)
{
    coili_alloc_init(&alloc, NULL, 0);
    heap = (struct coili_heap){ .alloc = &alloc };
}

static void tear_down(void)
{
    coili_heap_fini(&heap);
    coili_alloc_fini(&alloc);
}

static void push(size_t owner, int64_t deadline)
{
    CHECK_INT(coili_heap_push(&heap, deadline, (uintptr_t)owners[owner]), 0);
    deadlines[owner] = deadline;
    in_heap[owner] = true;
}

static size_t owner_of(const struct coili_heap_entry *entry)
{
    uintptr_t bytes = (entry->owner & ~(uintptr_t)1) - (uintptr_t)owners;
    return bytes / sizeof owners[0];
}

static size_t place_of(size_t owner)
{
    CHECK_INT(owners[owner][0] & COILI_TAG_MASK, COILI_TIMER_TAG);
    return COILI_TIMER_INDEX(owners[owner][0]);
}

static void remove_owner(size_t owner)
{
    coili_heap_remove(&heap, place_of(owner));
    in_heap[owner] = false;
}

static const struct coili_heap_entry *entry_at(size_t place)
{
    place += COILI_HEAP_UNUSED;
    return &heap.chunks[place / COILI_HEAP_CHUNK][place % COILI_HEAP_CHUNK];
}

/* Every owner knows its place, and each parent comes before its children. */
static void check_all(void)
{
    size_t n = 0;
    for (size_t i = 0; i < OWNERS; i++) {
        if (!in_heap[i])
            continue;
        n++;
        size_t place = place_of(i);
        CHECK(place < heap.n);
        CHECK(owner_of(entry_at(place)) == i);
        CHECK_INT(entry_at(place)->deadline, deadlines[i]);
        if (place == 0)
            continue;
        size_t parent = owner_of(entry_at((place - 1) / 4));
        CHECK(deadlines[parent] <= deadlines[i]);
    }
    CHECK_INT(heap.n, n);
}

TEST(heap_is_empty_at_first)
{
    set_up();
    CHECK(coili_heap_first(&heap) == NULL);
    tear_down();
}

/* Take the owners of the earliest deadline; check them; return their number. */
static size_t take(void)
{
    int64_t deadline = coili_heap_first(&heap)->deadline;
    size_t n = 0, last = 0;
    for (uintptr_t owner = coili_heap_take(&heap); owner; n++) {
        size_t i = (owner - (uintptr_t)owners) / sizeof owners[0];
        CHECK(in_heap[i]);
        CHECK_INT(deadlines[i], deadline);
        CHECK(n == 0 || owners[i][1] > last);
        last = owners[i][1];
        in_heap[i] = false;
        owner = owners[i][0];
    }
    CHECK(!heap.n || coili_heap_first(&heap)->deadline > deadline);
    check_all();
    return n;
}

// Owners of one deadline together, in the order in which they were added.
TEST(heap_gives_the_earliest_first)
{
    set_up();
    srand(1);
    for (size_t i = 0; i < OWNERS; i++)
        push(i, rand() % 1000);
    size_t n = 0, times = 0;
    for (; heap.n; times++)
        n += take();
    CHECK_INT(n, OWNERS);
    CHECK(times > 900 && times <= 1000);
    tear_down();
}

// What leaves from the middle and comes back is the last of its deadline. 1 to
// 3000 entries of one deadline: more than are sorted at once.
TEST(heap_keeps_the_order_of_any_number_of_equal_deadlines)
{
    static const size_t numbers[] = { 1, 2, 63, 64, 65, 128, 129, 200, OWNERS };
    set_up();
    srand(4);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        size_t n = numbers[i];
        for (size_t owner = 0; owner < n; owner++)
            push(owner, 7);
        for (size_t owner = 0; owner < n; owner += 1 + (size_t)rand() % 3) {
            remove_owner(owner);
            push(owner, 7);
        }
        CHECK_INT(take(), n);
        CHECK_INT(heap.n, 0);
    }
    tear_down();
}

// Deadlines at the ends of the range must not be subtracted to be compared.
TEST(heap_orders_the_extremes)
{
    static const int64_t given[] = { 0,  INT64_MAX, INT64_MIN, -1,
                                     1,  INT64_MAX - 1, INT64_MIN + 1 };
    static const int64_t sorted[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 1,
                                      INT64_MAX - 1, INT64_MAX };
    set_up();
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        push(i, given[i]);
    for (size_t i = 0; i < sizeof sorted / sizeof *sorted; i++) {
        CHECK_INT(coili_heap_first(&heap)->deadline, sorted[i]);
        remove_owner(owner_of(coili_heap_first(&heap)));
    }
    tear_down();
}

// A cancelled timer leaves from the middle: what takes its place may have to go
// up as well as down.
TEST(heap_agrees_with_a_model_after_every_change)
{
    set_up();
    srand(2);
    size_t changes = test_is_slow() ? 600 : 6000, n = 0;
    for (size_t i = 0; i < changes; i++) {
        size_t owner = (size_t)rand() % 60;
        if (in_heap[owner])
            remove_owner(owner);
        else
            push(owner, rand() % 40 - 20);
        n += in_heap[owner];
        check_all();
    }
    CHECK(n > changes / 3);
    tear_down();
}

// As above, but across chunks: children and parents lie far apart.
TEST(heap_keeps_places_across_chunks)
{
    set_up();
    srand(3);
    for (size_t i = 0; i < OWNERS; i++)
        push(i, rand() % 100000);
    check_all();
    CHECK(heap.chunks_n > 8);
    for (size_t i = 0; i < OWNERS; i += 1 + (size_t)rand() % 3) {
        remove_owner(i);
        if (i % 50 == 0)
            check_all();
    }
    check_all();
    tear_down();
}

// Growing must not move what is there: no place changes for a newcomer that is
// the latest of all.
TEST(heap_newcomer_that_is_last_moves_nobody)
{
    set_up();
    for (size_t i = 0; i < OWNERS; i++) {
        push(i, (int64_t)i);
        CHECK_INT(place_of(i), i);
    }
    check_all();
    tear_down();
}

// The lowest bit of the owner is the loop's: it tells calls from sleepers.
TEST(heap_keeps_the_lowest_bit_of_an_owner)
{
    set_up();
    CHECK_INT(coili_heap_push(&heap, 5, (uintptr_t)owners[0] | 1), 0);
    CHECK_INT(coili_heap_push(&heap, 3, (uintptr_t)owners[1]), 0);
    CHECK_INT(place_of(0), 1);
    CHECK_INT(coili_heap_first(&heap)->owner & 1, 0);
    coili_heap_remove(&heap, 0);
    CHECK_INT(place_of(0), 0);
    CHECK(coili_heap_first(&heap)->owner == ((uintptr_t)owners[0] | 1));
    CHECK(coili_heap_take(&heap) == ((uintptr_t)owners[0] | 1));
    tear_down();
}

static char arena[COILI_HEAP_CHUNK * 16 * 2 + 2048];

// A sleep without memory is an error, and no other timer suffers.
TEST(heap_without_memory_refuses_and_stays_whole)
{
    coili_alloc_init(&alloc, arena, sizeof arena);
    heap = (struct coili_heap){ .alloc = &alloc };
    size_t n = 0;
    owners[n][0] = 42;
    while (coili_heap_push(&heap, -(int64_t)n, (uintptr_t)owners[n]) == 0) {
        deadlines[n] = -(int64_t)n;
        in_heap[n] = true;
        owners[++n][0] = 42;
    }
    CHECK_INT(n, 2 * COILI_HEAP_CHUNK - COILI_HEAP_UNUSED);
    CHECK_INT(owners[n][0], 42);
    check_all();
    CHECK_INT(coili_heap_push(&heap, 0, (uintptr_t)owners[n]), -ENOMEM);

    remove_owner(7);
    push(7, 1);
    check_all();
    tear_down();
}

/* Of how many bytes an arena must be to have so many free ones. */
static size_t arena_bytes(char *room, size_t bytes)
{
    for (size_t n = bytes;; n += 16) {
        struct coili_arena *a = coili_arena_init(room, n);
        if (a && coili_arena_free_bytes(a) >= bytes)
            return n;
    }
}

// Whichever of its blocks there is no memory for: an entry, the first table of
// chunks, or the next one, twice as long.
TEST(heap_without_memory_to_grow_refuses)
{
    static _Alignas(16) char room[10 * COILI_HEAP_CHUNK * 16];
    const size_t chunk = COILI_HEAP_CHUNK * sizeof(struct coili_heap_entry);
    const struct {
        size_t bytes, fit;
    } cases[] = { { 0, 0 },
                  { 48, 0 },
                  { 64 + chunk - 16, 0 },
                  { 64 + chunk, 1 },
                  { 64 + 8 * chunk + 64, 8 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        coili_alloc_init(&alloc, room, arena_bytes(room, cases[i].bytes));
        heap = (struct coili_heap){ .alloc = &alloc };
        size_t n = 0;
        while (coili_heap_push(&heap, 0, (uintptr_t)owners[n]) == 0)
            n++;
        size_t most = cases[i].fit * COILI_HEAP_CHUNK;
        CHECK_INT(n, most ? most - COILI_HEAP_UNUSED : 0);
        CHECK_INT(heap.n, n);
        tear_down();
    }
}

// All of it: a loop is made and closed in one arena again and again.
TEST(heap_gives_its_memory_back)
{
    static char room[1 << 20];
    coili_alloc_init(&alloc, room, sizeof room);
    for (int round = 0; round < 100; round++) {
        heap = (struct coili_heap){ .alloc = &alloc };
        for (size_t i = 0; i < OWNERS; i++)
            push(i, rand());
        coili_heap_fini(&heap);
    }
    coili_alloc_fini(&alloc);
}

// Cancelling must work when memory is out.
TEST(heap_removes_without_allocating)
{
    set_up();
    for (size_t i = 0; i < OWNERS; i++)
        push(i, rand());
    test_forbid_allocations(true);
    for (size_t i = 0; i < OWNERS; i++)
        remove_owner(i);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    tear_down();
}

DEATH_TEST(heap_removal_of_a_place_that_is_not_there_aborts,
           "a timer is not in the heap")
{
    set_up();
    push(0, 1);
    coili_heap_remove(&heap, 1);
}
