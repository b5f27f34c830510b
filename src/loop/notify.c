/* SPDX-License-Identifier: MIT */
/*
 * sd_notify(3) of libsystemd sends on a blocking socket: a manager that does not read would stop the main
 * thread. The protocol is one datagram to a Unix socket, and promised to stay so (sd_notify(3), notes).
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "notify.h"

/* A path, or with '@' in front a name in the abstract namespace: sd_notify(3). */
static int notify_address(const char *socket_name, struct sockaddr_un *ret, socklen_t *ret_length)
{
        size_t n = strlen(socket_name);

        if (n < 2 || n >= sizeof(ret->sun_path) || (*socket_name != '/' && *socket_name != '@'))
                return -EINVAL;
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(ret->sun_path, socket_name, n);
        if (*socket_name == '@')
                ret->sun_path[0] = '\0';
        *ret_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
        return 0;
}

int notify_send(const char *state)
{
        const char *socket_name = getenv("NOTIFY_SOCKET");
        CLEANUP(cleanup_close)
        int fd = -1;
        struct sockaddr_un address;
        socklen_t length;
        int r;

        if (!socket_name || !*socket_name)
                return 0;
        r = notify_address(socket_name, &address, &length);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, length) < 0)
                return -errno;
        return 0;
}
