/* In the place of tls.c in a build without OpenSSL. */
#include "tls.h"

#include <stdio.h>
#include <stdlib.h>

static _Noreturn void without(void)
{
    fputs("built without OpenSSL: no TLS\n", stderr);
    exit(1);
}

void tls_start_client(const char *version, bool resume) { (void)version, (void)resume, without(); }

void tls_start_server(const char *certificate, const char *key) { (void)certificate, (void)key, without(); }

void *tls_open(int fd) { (void)fd, without(); }

int tls_handshake(void *tls) { (void)tls, without(); }

long tls_receive(void *tls, char *buffer, size_t size) { (void)tls, (void)buffer, (void)size, without(); }

long tls_send(void *tls, const void *data, size_t size) { (void)tls, (void)data, (void)size, without(); }

bool tls_pending(void *tls) { (void)tls, without(); }

void tls_free(void *tls) { (void)tls, without(); }

bool tls_resumed(void *tls) { (void)tls, without(); }

bool tls_can_resume(void) { return false; }

const char *tls_version(void *tls) { (void)tls, without(); }
