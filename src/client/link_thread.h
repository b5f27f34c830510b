/* SPDX-License-Identifier: MIT */
/* The thread of a link: takes orders and messages from its core's mailboxes, gives events. */
#ifndef MBGATE_CLIENT_LINK_THREAD_H
#define MBGATE_CLIENT_LINK_THREAD_H

/* `core`: a struct link_core and a reference to it, which the thread gives back when it ends. */
void *link_thread_main(void *core);

#endif
