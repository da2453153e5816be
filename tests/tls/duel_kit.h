// SPDX-License-Identifier: MIT
#ifndef DUEL_KIT_H
#define DUEL_KIT_H

/*
 * duel_kit.h: the engines that there are, for tests that run a table against
 * each of them; and a count of what was not as it must be, so that a failing
 * case says all of it.
 */
#include "stage.h"

#include "duel.h"

#include <coil/openssl.h>

enum { DUEL_OWN, DUEL_OPENSSL };

static inline const struct coil_tls_engine *duel_engine(int which)
{
    return which == DUEL_OWN ? coil_tls_own_engine() : coil_openssl_engine();
}

static int duel_faults;

/* Say that a duel went wrong; the case goes on. */
static inline void duel_fault(const char *what, const char *how, int expected,
                              const struct duel_result *r)
{
    if (duel_faults++ >= 100)
        return;
    fprintf(stderr, "# %s%s%s: %s", what, *how ? ", " : "", how,
            duel_outcome_text(r->outcome));
    fprintf(stderr, ", expected: %s; opened %d, error %d, code %#x%s%s\n",
            duel_outcome_text(expected), r->opened, r->err, (unsigned)r->code,
            r->complaint ? ": " : "", r->complaint ? r->complaint : "");
}

static inline void duel_check(void)
{
    CHECK_INT(duel_faults, 0);
}

#endif
