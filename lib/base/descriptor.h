// SPDX-License-Identifier: MIT
#ifndef COILI_DESCRIPTOR_H
#define COILI_DESCRIPTOR_H

/*
 * descriptor.h: the descriptors that coil opens, all of them above 2 and
 * close-on-exec.
 *
 * Result    the descriptor, or -errno
 */

#include <stdbool.h>
#include <sys/types.h>

#include <coil/api.h>

COIL_API int coili_file_open(const char *path); /* to read it; also coil-tls */
COIL_API int coili_file_append(const char *path); /* made for its owner alone */
int coili_eventfd_open(void);
int coili_socket_open(int family); /* a stream socket */
int coili_pidfd_open(pid_t pid);

/* Two connected Unix stream sockets. Result: 0, or -errno and no socket. */
int coili_socket_pair_open(int fds[2]);

/*
 * Move a descriptor that the kernel has opened, a ring or an accepted
 * connection, above 2 if it is not. After an error the descriptor is closed. A
 * negative `fd`, which is an error, is returned as the result.
 */
int coili_fd_above_2(int fd);

/* True if a descriptor has no byte to read, no end and no error. */
bool coili_fd_is_silent(int fd);

#endif
