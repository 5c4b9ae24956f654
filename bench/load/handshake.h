/* The arithmetic of the WebSocket opening handshake (RFC 6455, 4.2.2), used by both sides. */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stddef.h>

#define KEY_LENGTH 24    /* base64 of 16 bytes */
#define ACCEPT_LENGTH 28 /* base64 of the 20 bytes of SHA-1 */

/* Base64 with padding; `out` has room for 4 * ((size + 2) / 3) + 1 characters. */
void base64(const unsigned char *data, size_t size, char *out);

/* Sec-WebSocket-Accept for a key; `out` has room for ACCEPT_LENGTH + 1 characters. */
void accept_for(const char *key, char *out);

#endif
