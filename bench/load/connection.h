/* What the three parts of a connection share: its socket (connection.c), how it is opened (opening.c), and the frames it
 * receives (frames.c). */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "load.h"

extern char last_answer[201]; /* the beginning of the last message while joining, to say what went wrong */

void append(char **to, size_t *size, size_t *room, const void *data, size_t more);
void connection_end(struct connection *c, const char *why);                     /* it is of no use any more */
void connection_watch(struct connection *c, int operation, uint32_t more);     /* `operation` of epoll_ctl(2) */
void opening_start(void);
void opening_connected(struct connection *c); /* the socket is: begin TLS, or ask */
void opening_secure(struct connection *c);    /* go on with the handshake of TLS */
void opening_done(struct connection *c);
void connection_take(struct connection *c, char *data, size_t size); /* what was received */
void take_frames(struct connection *c, char *data, size_t size);     /* frames, cut anywhere */
void send_text(struct connection *c, const char *text);

#endif
