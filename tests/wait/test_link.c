// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_link.c: one call for a value, one for an error.
 */
#include "work.h"

#include <coil/link.h>

static void well(struct coil_future *done, void *arg)
{
    trace("%s%d", (const char *)arg, (int)coil_future_int(done));
}

static void badly(struct coil_future *done, void *arg)
{
    trace("%s%d", (const char *)arg, coil_future_error(done));
}

// gevent link_value, link_exception: each is called for its own.
TEST(link_calls_one_for_a_value_and_one_for_an_error)
{
    stage_open();
    struct coil_link link[4] = { { .arg = NULL } };
    struct coil_future *f[2] = { coil_future_new(), coil_future_new() };
    for (int i = 0; i < 2; i++) {
        coil_link_add(&link[2 * i], f[i], well, NULL, "well");
        coil_link_add(&link[2 * i + 1], f[i], NULL, badly, "badly");
    }
    coil_future_set_int(f[0], 3);
    coil_future_set_error(f[1], -EIO);
    CHECK_TRACE("");
    coil_future_unref(f[0]); /* the links keep them */
    coil_future_unref(f[1]);
    stage_passes(1);
    CHECK_TRACE("well3 badly-5");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

TEST(link_to_what_is_done_is_called_soon_in_order)
{
    stage_open();
    struct coil_link a = { .arg = NULL }, b = { .arg = NULL };
    struct coil_future *f = coil_future_from_int(1);
    coil_link_add(&a, f, well, badly, "a");
    coil_link_add(&b, f, well, badly, "b");
    coil_future_unref(f);
    CHECK_TRACE("");
    stage_passes(1);
    CHECK_TRACE("a1 b1");
    stage_close();
}

TEST(link_to_a_task_is_called_when_it_ends)
{
    stage_open();
    struct coil_link a = { .arg = NULL };
    struct coil_task *t = coil_spawn(CALL(work, .id = 8, .passes = 2));
    coil_link_add(&a, coil_task_future(t), well, badly, "a");
    coil_task_drop(&t);
    stage_passes(6);
    CHECK_TRACE("a8");
    stage_close();
}

// Without a handler for it an error is still reported.
TEST(link_without_a_handler_for_an_error_leaves_it_to_be_reported)
{
    stage_open();
    struct coil_link a = { .arg = NULL };
    struct coil_future *f = coil_future_new();
    coil_link_add(&a, f, well, NULL, "a");
    coil_future_set_error(f, -EIO);
    coil_future_unref(f);
    stage_passes(1);
    CHECK_INT(stage_reported.n, 1);
    CHECK_TRACE("");
    stage_close();
}

TEST(link_undone_is_not_called)
{
    stage_open();
    struct coil_link a = { .arg = NULL }, b = { .arg = NULL };
    struct coil_future *f = coil_future_new();
    CHECK(!coil_link_remove(&a));
    coil_link_add(&a, f, well, badly, "a");
    coil_link_add(&b, f, well, badly, "b");
    CHECK(coil_link_remove(&a));
    coil_future_set_int(f, 1);
    CHECK(coil_link_remove(&b)); /* also when the call is on its way */
    stage_passes(1);
    CHECK_TRACE("");
    CHECK(!coil_link_remove(&b));
    coil_link_add(&a, f, well, badly, "a"); /* and it may be used again */
    stage_passes(1);
    CHECK_TRACE("a1");
    CHECK(!coil_link_remove(&a));
    coil_future_unref(f);
    stage_close();
}

static void again(struct coil_future *done, void *arg)
{
    well(done, "again");
    coil_link_add(arg, done, well, badly, "later");
}

// The link is the caller's again before its call is made.
TEST(link_may_be_made_again_in_its_own_call)
{
    stage_open();
    struct coil_link a = { .arg = NULL };
    struct coil_future *f = coil_future_from_int(1);
    coil_link_add(&a, f, again, badly, &a);
    coil_future_unref(f);
    stage_passes(1);
    CHECK_TRACE("again1");
    stage_passes(1);
    CHECK_TRACE("later1");
    stage_close();
}

DEATH_TEST(link_in_use_aborts, "a handle is in use already")
{
    stage_open();
    struct coil_link a = { .arg = NULL };
    struct coil_future *f = coil_future_new();
    coil_link_add(&a, f, well, badly, "a");
    coil_link_add(&a, f, well, badly, "a");
}
