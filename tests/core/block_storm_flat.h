// SPDX-License-Identifier: MIT
/*
 * block_storm_flat.h: the statements of a program that contain no others.
 *
 * test_block_storm.c includes it at each place where a list of statements may
 * stand. An await is labelled by its line: so each time the lines begin at
 * FLAT_LINE.
 */
#line FLAT_LINE
ON_AWAIT(false) AWAIT_TO(my->value, awaited(my));
ON_AWAIT(true) TRY_AWAIT_TO(my->err, my->value, awaited(my));
ON_CHILD(false) AWAIT_TO(my->value, my->child);
ON_CHILD(true) TRY_AWAIT_TO(my->err, my->value, my->child);
ON(JOINS) JOIN();
ON(YIELDS) YIELD(my->now->id);
ON(DELEGATES) YIELD_FROM(delegated(my));
ON(NEXTS) NEXT(my->more, my->item, source(my));
ON(CLOSES) CLOSE(forget_source(my));
ON(TAKES) AWAIT_TO(my->p, CALL(gives));
ON(FAILS) FAIL(my->now->err);
ON(RETURNS) RETURN(my->now->a);
ON(LEAVES) LEAVE;
done(my);
#undef FLAT_LINE
