/* TLS over a socket that does not block; tls.c does it with OpenSSL, no_tls.c says that it was left out. */
#ifndef TLS_H
#define TLS_H

#include <stdbool.h>
#include <stddef.h>

/* `version`: "1.2" or "1.3" only, NULL: what both can. `resume`: connections resume the session of the first. Each ends
 * the process with a line on stderr when it can't be done. */
void tls_start_client(const char *version, bool resume);
void tls_start_server(const char *certificate, const char *key);

void *tls_open(int fd);
int tls_handshake(void *tls);                           /* 1: done, 0: later, -1: failed */
long tls_receive(void *tls, char *buffer, size_t size); /* as recv(2), EAGAIN included */
long tls_send(void *tls, const void *data, size_t size);
bool tls_pending(void *tls); /* has it bytes that the socket does not have any more? */
void tls_free(void *tls);
bool tls_resumed(void *tls);
bool tls_can_resume(void); /* is there a session to resume? */
const char *tls_version(void *tls);

#endif
