/* TLS with OpenSSL 3, bound to the socket itself. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static SSL_CTX *context;
static SSL_SESSION *session;
static bool resumes;

static _Noreturn void end(const char *what)
{
    fprintf(stderr, "TLS: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* A ticket has come. The first is kept and used for all: a server without early data takes it more than once. */
static int on_session(SSL *tls, SSL_SESSION *given)
{
    (void)tls;
    if (!resumes || session)
        return 0;
    session = given;
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* with it, a session is given up once it was used */
    return 1;
}

static void start(const SSL_METHOD *method)
{
    context = SSL_CTX_new(method);
    if (!context)
        end("no context");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

void tls_start_client(const char *version, bool resume)
{
    int only = version ? (strcmp(version, "1.2") ? TLS1_3_VERSION : TLS1_2_VERSION) : 0;

    start(TLS_client_method());
    resumes = resume;
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_min_proto_version(context, only ? only : TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(context, only);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS); /* there may be 10,000 of them */
    SSL_CTX_set_read_ahead(context, 1);
}

void tls_start_server(const char *certificate, const char *key)
{
    start(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        end("certificate or key");
}

void *tls_open(int fd)
{
    SSL *tls = SSL_new(context);

    if (!tls || !SSL_set_fd(tls, fd))
        end("no connection");
    if (SSL_CTX_get_ssl_method(context) == TLS_server_method()) {
        SSL_set_accept_state(tls);
    } else {
        SSL_set_connect_state(tls);
        if (session)
            SSL_set_session(tls, session);
    }
    return tls;
}

int tls_handshake(void *tls)
{
    int result, error;

    ERR_clear_error();
    result = SSL_do_handshake(tls);
    if (result == 1)
        return 1;
    error = SSL_get_error(tls, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* What recv(2) or send(2) would have said. */
static long outcome(SSL *tls, int result)
{
    switch (SSL_get_error(tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        errno = errno ? errno : ECONNRESET;
        return -1;
    default:
        errno = EPROTO;
        return -1;
    }
}

long tls_receive(void *tls, char *buffer, size_t size)
{
    int result;

    ERR_clear_error();
    result = SSL_read(tls, buffer, (int)size);
    return result > 0 ? result : outcome(tls, result);
}

long tls_send(void *tls, const void *data, size_t size)
{
    int result;

    ERR_clear_error();
    result = SSL_write(tls, data, (int)size);
    return result > 0 ? result : outcome(tls, result);
}

bool tls_pending(void *tls) { return SSL_has_pending(tls); }

void tls_free(void *tls)
{
    SSL_set_shutdown(tls, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else its session could not be resumed */
    SSL_free(tls);
}

bool tls_resumed(void *tls) { return SSL_session_reused(tls); }

bool tls_can_resume(void) { return session != NULL; }

const char *tls_version(void *tls) { return SSL_get_version(tls); }
