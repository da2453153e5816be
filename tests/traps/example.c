// SPDX-License-Identifier: MIT
/* Each trap that tests/traps/check finds, and what it must let pass. */
static void example(struct coil_coro *co)
{
    ASYNC(example, my) {
        for (;;) {
            TRY(my->err) WITHIN(COIL_SECONDS(3)) {
                for (my->i = 0; my->i < 3; my->i++) {
                    if (my->i == 1)
                        continue; /* this loop */
                    break;
                }
                switch (my->i) {
                case 3: break; /* this switch */
                }
                if (my->i == 4)
                    continue;
                break;
            }
            if (my->err) { /* no block any more */
                TRY(my->err) continue;
                continue;
            }
            return;
        }
    }
}
