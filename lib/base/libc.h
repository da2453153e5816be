// SPDX-License-Identifier: MIT
#ifndef COILI_LIBC_H
#define COILI_LIBC_H

/*
 * libc.h: the texts for errors and signals, from glibc or from musl.
 *
 * glibc has calls whose texts do not depend on the locale and which are safe in
 * any thread. musl does not have them, but its strerror() and strsignal() are
 * as good: they return strings that do not change. NULL: there is no text.
 */
#include <signal.h>
#include <string.h>

#ifdef __GLIBC__

static inline const char *coili_errno_words(int code)
{
    return strerrordesc_np(code);
}

static inline const char *coili_signal_words(int signo)
{
    return sigdescr_np(signo);
}

/* "TERM" for SIGTERM. */
static inline const char *coili_signal_name(int signo)
{
    return sigabbrev_np(signo);
}

#else

/* In musl an unknown code has the text of 0. */
static inline const char *coili_errno_words(int code)
{
    const char *words = strerror(code);
    return strcmp(words, strerror(0)) == 0 ? NULL : words;
}

/* In musl an unknown signal has the text of 0, too. */
static inline const char *coili_signal_words(int signo)
{
    const char *words = strsignal(signo);
    return strcmp(words, strsignal(0)) == 0 ? NULL : words;
}

/* "TERM" for SIGTERM. */
static inline const char *coili_signal_name(int signo)
{
    static const char *const names[] = {
        [SIGHUP] = "HUP",       [SIGINT] = "INT",       [SIGQUIT] = "QUIT",
        [SIGILL] = "ILL",       [SIGTRAP] = "TRAP",     [SIGABRT] = "ABRT",
        [SIGBUS] = "BUS",       [SIGFPE] = "FPE",       [SIGKILL] = "KILL",
        [SIGUSR1] = "USR1",     [SIGSEGV] = "SEGV",     [SIGUSR2] = "USR2",
        [SIGPIPE] = "PIPE",     [SIGALRM] = "ALRM",     [SIGTERM] = "TERM",
        [SIGSTKFLT] = "STKFLT", [SIGCHLD] = "CHLD",     [SIGCONT] = "CONT",
        [SIGSTOP] = "STOP",     [SIGTSTP] = "TSTP",     [SIGTTIN] = "TTIN",
        [SIGTTOU] = "TTOU",     [SIGURG] = "URG",       [SIGXCPU] = "XCPU",
        [SIGXFSZ] = "XFSZ",     [SIGVTALRM] = "VTALRM", [SIGPROF] = "PROF",
        [SIGWINCH] = "WINCH",   [SIGPOLL] = "POLL",     [SIGPWR] = "PWR",
        [SIGSYS] = "SYS",
    };
    int n = (int)(sizeof names / sizeof *names);
    return signo > 0 && signo < n ? names[signo] : NULL;
}

#endif

#endif
