/* The short way between many sockets and Python. kernel_twin.py is the same in Python, and describes every class and
 * function; tests/transports/test_kernel.py holds both to it.
 *
 * Two rules keep this safe. Where a loop runs over what Python code could change (a group's places, a poll's readers),
 * nothing in that loop may run Python code, or everything is looked up again after it did: an object made may start the
 * garbage collector, a reference dropped may run a destructor. And the GIL is kept: no call here waits.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLOSED (1 << 30)
#define SHORT (1 << 29)
#define LOOK_AT_CLOCK 16
#define MOST_READ (64 * 1024)
#define MOST_POLLED 1024

static int
check_bytes(PyObject *data)
{
    if (PyBytes_Check(data)) {
        return 0;
    }
    PyErr_SetString(PyExc_TypeError, "bytes are needed");
    return -1;
}

/* A number; one that is too large or too small becomes the largest or the smallest. */
static int
as_size(PyObject *number, Py_ssize_t *size)
{
    *size = PyNumber_AsSsize_t(number, NULL);
    return *size == -1 && PyErr_Occurred() ? -1 : 0;
}

/* What a call was given, into `found` by `names`, which end with NULL; what was not given stays as it is. For what is
 * called in every turn: PyArg_ParseTupleAndKeywords takes 0.2 us more. */
static int
arguments(PyObject *const *args, Py_ssize_t count, PyObject *keywords, const char *const *names, PyObject **found)
{
    Py_ssize_t most = 0, named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    while (names[most] != NULL) {
        most++;
    }
    if (count > most) {
        PyErr_SetString(PyExc_TypeError, "there are too many arguments");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        found[i] = args[i];
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        Py_ssize_t at = count; /* before it, they were given already */
        while (at < most && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, i), names[at]) != 0) {
            at++;
        }
        if (at == most) {
            PyErr_SetString(PyExc_TypeError, "there is an unknown argument, or one is given twice");
            return -1;
        }
        found[at] = args[count + i];
    }
    return 0;
}

/* `items` with room for at least `needed` of `size` bytes each; new room is zero. NULL: there is no memory, `items`
 * stays as it was, and there is an exception. */
static void *
grown(void *items, Py_ssize_t *room, Py_ssize_t needed, size_t size)
{
    if (needed <= *room) {
        return items;
    }
    Py_ssize_t more = *room + *room / 2 + 4;
    if (more < needed) {
        more = needed;
    }
    char *moved = (size_t)more > PY_SSIZE_T_MAX / size ? NULL : PyMem_Realloc(items, (size_t)more * size);
    if (moved == NULL) {
        return PyErr_NoMemory();
    }
    memset(moved + (size_t)*room * size, 0, (size_t)(more - *room) * size);
    *room = more;
    return moved;
}

/* ---- Outlet */

typedef int (*tls_write)(void *ssl, const void *data, int size);
typedef void (*tls_clear)(void);

typedef struct {
    PyObject_HEAD
    int fd;
    int holds;
    PyObject *owner;
    void *ssl; /* NULL: plain */
    tls_write write;
    tls_clear clear;
} Outlet;

static PyTypeObject OutletType;

static PyObject *
outlet_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", NULL};
    int fd = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|i:Outlet", names, &fd)) {
        return NULL;
    }
    Outlet *self = (Outlet *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->fd = fd;
        self->owner = Py_NewRef(Py_None);
    }
    return (PyObject *)self;
}

static int
outlet_traverse(Outlet *self, visitproc visit, void *arg)
{
    Py_VISIT(self->owner);
    return 0;
}

static int
outlet_clear(Outlet *self)
{
    Py_CLEAR(self->owner);
    return 0;
}

static void
outlet_dealloc(Outlet *self)
{
    PyObject_GC_UnTrack(self);
    outlet_clear(self);
    Py_TYPE(self)->tp_free(self);
}

/* OpenSSL's queue of errors is one a thread: it has to be empty before a call, and none of ours may stay in it. With
 * SSL_MODE_ENABLE_PARTIAL_WRITE a call ends after each record. */
static Py_ssize_t
send_tls(Outlet *self, const char *data, Py_ssize_t size)
{
    Py_ssize_t sent = 0;
    while (sent < size && self->ssl != NULL) { /* a callback may have closed it */
        Py_ssize_t rest = size - sent;
        self->clear();
        int n = self->write(self->ssl, data + sent, rest > INT_MAX ? INT_MAX : (int)rest);
        if (n <= 0) {
            self->clear();
            break;
        }
        sent += n;
    }
    return sent;
}

/* Bytes taken now; 0: it would block; -1: it failed, see errno. Runs no Python code. */
static Py_ssize_t
send_now(Outlet *self, const char *data, Py_ssize_t size)
{
    if (self->fd < 0) {
        errno = EBADF;
        return -1;
    }
    if (size == 0) {
        return 0;
    }
    if (self->ssl != NULL) {
        return send_tls(self, data, size);
    }
    ssize_t n;
    do {
        n = send(self->fd, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return 0;
    }
    return n;
}

static PyObject *
outlet_send(Outlet *self, PyObject *data)
{
    if (check_bytes(data) < 0) {
        return NULL;
    }
    Py_ssize_t n = send_now(self, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data));
    if (n < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromSsize_t(n);
}

static PyObject *
outlet_bind_tls(Outlet *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"ssl", "write", "clear", NULL};
    PyObject *given[3];
    void *addresses[3];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:bind_tls", names, &given[0], &given[1], &given[2])) {
        return NULL;
    }
    for (int i = 0; i < 3; i++) {
        addresses[i] = PyLong_AsVoidPtr(given[i]);
        if (addresses[i] == NULL) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ValueError, "an address is not 0");
            }
            return NULL;
        }
    }
    self->ssl = addresses[0];
    self->write = (tls_write)(uintptr_t)addresses[1];
    self->clear = (tls_clear)(uintptr_t)addresses[2];
    Py_RETURN_NONE;
}

static PyObject *
outlet_close(Outlet *self, PyObject *Py_UNUSED(ignored))
{
    self->fd = -1;
    self->ssl = NULL;
    self->holds |= CLOSED;
    Py_RETURN_NONE;
}

static PyMemberDef outlet_members[] = {
    {"fd", T_INT, offsetof(Outlet, fd), 0, NULL},
    {"holds", T_INT, offsetof(Outlet, holds), 0, NULL},
    {"owner", T_OBJECT_EX, offsetof(Outlet, owner), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef outlet_methods[] = {
    {"send", (PyCFunction)(void (*)(void))outlet_send, METH_O, NULL},
    {"bind_tls", (PyCFunction)(void (*)(void))outlet_bind_tls, METH_VARARGS | METH_KEYWORDS, NULL},
    {"close", (PyCFunction)(void (*)(void))outlet_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject OutletType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "realtime_svc.transports._kernel.Outlet",
    .tp_doc = "Where the bytes of one connection go out. Not thread safe.",
    .tp_basicsize = sizeof(Outlet),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = outlet_new,
    .tp_dealloc = (destructor)outlet_dealloc,
    .tp_traverse = (traverseproc)outlet_traverse,
    .tp_clear = (inquiry)outlet_clear,
    .tp_members = outlet_members,
    .tp_methods = outlet_methods,
};

/* ---- Group */

typedef struct {
    PyObject_HEAD
    Outlet **places;  /* `used` of them were given out; NULL: free again */
    Py_ssize_t *free; /* stack of the free ones; it has the room of `places`, so that leaving never fails */
    Py_ssize_t used;
    Py_ssize_t freed;
    Py_ssize_t room;
    Py_ssize_t free_room;
} Group;

/* An outlet that did not take everything; a reference of its own. */
typedef struct {
    Outlet *outlet;
    Py_ssize_t taken;
} Other;

typedef struct {
    Other *items;
    Py_ssize_t count;
    Py_ssize_t room;
} Others;

static PyObject *
group_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Group", names)) {
        return NULL;
    }
    return type->tp_alloc(type, 0);
}

static int
group_traverse(Group *self, visitproc visit, void *arg)
{
    for (Py_ssize_t i = 0; i < self->used; i++) {
        Py_VISIT(self->places[i]);
    }
    return 0;
}

static int
group_clear(Group *self)
{
    Outlet **places = self->places;
    Py_ssize_t used = self->used;
    PyMem_Free(self->free);
    self->places = NULL;
    self->free = NULL;
    self->used = self->freed = self->room = self->free_room = 0;
    for (Py_ssize_t i = 0; i < used; i++) {
        Py_XDECREF(places[i]);
    }
    PyMem_Free(places);
    return 0;
}

static void
group_dealloc(Group *self)
{
    PyObject_GC_UnTrack(self);
    group_clear(self);
    Py_TYPE(self)->tp_free(self);
}

/* Room for one more place, and for its number among the free ones. */
static int
group_grow(Group *self)
{
    Outlet **places = grown(self->places, &self->room, self->used + 1, sizeof(*places));
    if (places == NULL) {
        return -1;
    }
    self->places = places;
    Py_ssize_t *numbers = grown(self->free, &self->free_room, self->used + 1, sizeof(*numbers));
    if (numbers == NULL) {
        return -1;
    }
    self->free = numbers;
    return 0;
}

static PyObject *
group_add(Group *self, PyObject *outlet)
{
    if (!Py_IS_TYPE(outlet, &OutletType)) {
        PyErr_SetString(PyExc_TypeError, "an Outlet is needed");
        return NULL;
    }
    if (self->freed == 0 && group_grow(self) < 0) {
        return NULL;
    }
    Py_ssize_t place = self->freed > 0 ? self->free[self->freed - 1] : self->used;
    PyObject *result = PyLong_FromSsize_t(place);
    if (result == NULL) {
        return NULL;
    }
    if (self->freed > 0) {
        self->freed--;
    } else {
        self->used++;
    }
    self->places[place] = (Outlet *)Py_NewRef(outlet);
    return result;
}

static PyObject *
group_remove(Group *self, PyObject *number)
{
    Py_ssize_t place;
    if (as_size(number, &place) < 0) {
        return NULL;
    }
    if (place < 0 || place >= self->used || self->places[place] == NULL) {
        PyErr_SetString(PyExc_LookupError, "no outlet has this place");
        return NULL;
    }
    Outlet *outlet = self->places[place];
    self->places[place] = NULL;
    self->free[self->freed++] = place;
    if (self->freed == self->used) {
        self->freed = self->used = 0;
    }
    Py_DECREF(outlet); /* may run Python code: last */
    Py_RETURN_NONE;
}

static Py_ssize_t
group_length(Group *self)
{
    return self->used - self->freed;
}

static int64_t
nanoseconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The loop. Returns the place to go on from; `used` or more: all were served. Runs no Python code, unless OpenSSL has
 * been given a callback: all is looked up again after a send, and the outlet is kept. Memory for the others is taken
 * before a send, so that none of them is forgotten: where there is none, it ends early with an exception. */
static Py_ssize_t
send_to_places(Group *self, PyObject *data, Py_ssize_t place, int64_t end, Py_ssize_t *whole, Others *others)
{
    const char *bytes = PyBytes_AS_STRING(data);
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    for (; place < self->used; place++) {
        if (self->places[place] == NULL) {
            continue;
        }
        Py_ssize_t served = *whole + others->count;
        if (end != 0 && served != 0 && served % LOOK_AT_CLOCK == 0 && nanoseconds_now() >= end) {
            return place;
        }
        Other *items = grown(others->items, &others->room, others->count + 1, sizeof(*items));
        if (items == NULL) {
            return place;
        }
        others->items = items;
        Outlet *outlet = (Outlet *)Py_NewRef(self->places[place]);
        Py_ssize_t taken = outlet->holds != 0 ? -1 : send_now(outlet, bytes, size);
        if (taken == size) {
            ++*whole;
            Py_DECREF(outlet);
            continue;
        }
        if (taken > 0) {
            outlet->holds |= SHORT;
        }
        items[others->count++] = (Other){outlet, taken > 0 ? taken : 0};
    }
    return place;
}

/* [(outlet, bytes taken)]; gives up the references and the memory of `others`. */
static PyObject *
list_of(Others *others)
{
    PyObject *list = PyErr_Occurred() ? NULL : PyList_New(others->count);
    for (Py_ssize_t i = 0; i < others->count; i++) {
        PyObject *pair = list == NULL ? NULL : Py_BuildValue("(On)", others->items[i].outlet, others->items[i].taken);
        if (pair == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, pair);
        }
        Py_DECREF(others->items[i].outlet);
    }
    PyMem_Free(others->items);
    return list;
}

static PyObject *
group_send(Group *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"data", "place", "nanoseconds", NULL};
    PyObject *given[3] = {Py_None, NULL, NULL};
    if (arguments(args, count, keywords, names, given) < 0 || check_bytes(given[0]) < 0) {
        return NULL;
    }
    PyObject *data = given[0];
    Py_ssize_t place = 0, nanoseconds = 0;
    if ((given[1] != NULL && as_size(given[1], &place) < 0)
        || (given[2] != NULL && as_size(given[2], &nanoseconds) < 0)) {
        return NULL;
    }
    if (place < 0) {
        PyErr_SetString(PyExc_ValueError, "a place is not negative");
        return NULL;
    }
    int64_t now = nanoseconds > 0 ? nanoseconds_now() : 0;
    int64_t end = nanoseconds > INT64_MAX - now ? INT64_MAX : now + nanoseconds;
    Others others = {NULL, 0, 0};
    Py_ssize_t whole = 0;
    Py_ssize_t next = send_to_places(self, data, place, nanoseconds > 0 ? end : 0, &whole, &others);
    if (next >= self->used) {
        next = -1;
    }
    if (PyErr_Occurred() && whole + others.count > 0) {
        PyErr_Clear(); /* memory ran out after some were served: a later call goes on from there */
    }
    PyObject *list = list_of(&others);
    if (list == NULL) {
        return NULL;
    }
    PyObject *where = PyLong_FromSsize_t(next), *many = PyLong_FromSsize_t(whole);
    PyObject *result = where == NULL || many == NULL ? NULL : PyTuple_Pack(3, where, many, list);
    Py_XDECREF(where);
    Py_XDECREF(many);
    Py_DECREF(list);
    return result;
}

static PySequenceMethods group_as_sequence = {
    .sq_length = (lenfunc)group_length,
};

static PyMethodDef group_methods[] = {
    {"add", (PyCFunction)(void (*)(void))group_add, METH_O, NULL},
    {"remove", (PyCFunction)(void (*)(void))group_remove, METH_O, NULL},
    {"send", (PyCFunction)(void (*)(void))group_send, METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject GroupType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "realtime_svc.transports._kernel.Group",
    .tp_doc = "Outlets that get the same bytes, each at a place that stays its own until it leaves.",
    .tp_basicsize = sizeof(Group),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = group_new,
    .tp_dealloc = (destructor)group_dealloc,
    .tp_traverse = (traverseproc)group_traverse,
    .tp_clear = (inquiry)group_clear,
    .tp_as_sequence = &group_as_sequence,
    .tp_methods = group_methods,
};

/* ---- Poll */

typedef struct {
    PyObject *reader; /* NULL: not watched */
    int straight;
} Watched;

typedef struct {
    PyObject_HEAD
    int epoll;        /* -1: closed */
    Watched *watched; /* by descriptor */
    Py_ssize_t room;
    char *buffer;
} Poll;

static PyObject *
poll_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Poll", names)) {
        return NULL;
    }
    Poll *self = (Poll *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (self->epoll < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    self->buffer = PyMem_Malloc(MOST_READ);
    if (self->buffer == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static int
poll_traverse(Poll *self, visitproc visit, void *arg)
{
    for (Py_ssize_t fd = 0; fd < self->room; fd++) {
        Py_VISIT(self->watched[fd].reader);
    }
    return 0;
}

static int
poll_clear(Poll *self)
{
    Watched *watched = self->watched;
    Py_ssize_t room = self->room;
    self->watched = NULL;
    self->room = 0;
    for (Py_ssize_t fd = 0; fd < room; fd++) {
        Py_XDECREF(watched[fd].reader);
    }
    PyMem_Free(watched);
    return 0;
}

static void
shut(Poll *self)
{
    int epoll = self->epoll;
    self->epoll = -1;
    if (epoll >= 0) {
        close(epoll);
    }
}

static void
poll_dealloc(Poll *self)
{
    PyObject_GC_UnTrack(self);
    shut(self);
    poll_clear(self);
    PyMem_Free(self->buffer);
    Py_TYPE(self)->tp_free(self);
}

static int
check_open(Poll *self)
{
    if (self->epoll >= 0) {
        return 0;
    }
    PyErr_SetString(PyExc_ValueError, "it is closed");
    return -1;
}

static PyObject *
poll_fileno(Poll *self, PyObject *Py_UNUSED(ignored))
{
    return check_open(self) < 0 ? NULL : PyLong_FromLong(self->epoll);
}

static PyObject *
poll_close(Poll *self, PyObject *Py_UNUSED(ignored))
{
    shut(self);
    poll_clear(self);
    Py_RETURN_NONE;
}

static PyObject *
poll_add(Poll *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", "reader", "straight", NULL};
    int fd, straight;
    PyObject *reader;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iOp:add", names, &fd, &reader, &straight) || check_open(self) < 0) {
        return NULL;
    }
    if (fd < 0) {
        PyErr_SetString(PyExc_ValueError, "a descriptor is not negative");
        return NULL;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data = {.fd = fd}};
    if (epoll_ctl(self->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    /* After the system took it: `fd` is a descriptor then, so the table has an end. */
    Watched *watched = grown(self->watched, &self->room, (Py_ssize_t)fd + 1, sizeof(*watched));
    if (watched == NULL) {
        epoll_ctl(self->epoll, EPOLL_CTL_DEL, fd, &event);
        return NULL;
    }
    self->watched = watched;
    PyObject *old = self->watched[fd].reader; /* of a descriptor closed without `remove` */
    self->watched[fd].reader = Py_NewRef(reader);
    self->watched[fd].straight = straight;
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

static PyObject *
poll_remove(Poll *self, PyObject *number)
{
    Py_ssize_t fd;
    if (as_size(number, &fd) < 0) {
        return NULL;
    }
    if (fd < 0 || fd >= self->room || self->watched[fd].reader == NULL) {
        Py_RETURN_NONE;
    }
    struct epoll_event event = {.events = 0};
    epoll_ctl(self->epoll, EPOLL_CTL_DEL, (int)fd, &event); /* fails where it was closed before: it left by that */
    Py_CLEAR(self->watched[fd].reader);
    Py_RETURN_NONE;
}

/* What recv(2) gave, for `poll`: bytes, an int, or Py_None: EAGAIN, there is nothing to tell. NULL: an exception. */
static PyObject *
receive(Poll *self, int fd)
{
    ssize_t n;
    do {
        n = recv(fd, self->buffer, MOST_READ, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return PyBytes_FromStringAndSize(self->buffer, n);
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLong(errno);
}

/* Append what there is at `fd` to `list`. */
static int
poll_one(Poll *self, int fd, uint32_t events, PyObject *list)
{
    if (fd >= self->room || self->watched[fd].reader == NULL) {
        return 0; /* gone since epoll_wait */
    }
    int reads = self->watched[fd].straight && events & (EPOLLIN | EPOLLRDHUP);
    PyObject *reader = Py_NewRef(self->watched[fd].reader);
    PyObject *got = reads ? receive(self, fd) : Py_NewRef(Py_None);
    int result = got == NULL ? -1 : 0;
    if (got != NULL && !(reads && got == Py_None)) {
        PyObject *pair = PyTuple_Pack(2, reader, got);
        result = pair == NULL ? -1 : PyList_Append(list, pair);
        Py_XDECREF(pair);
    }
    Py_XDECREF(got);
    Py_DECREF(reader);
    return result;
}

static PyObject *
poll_poll(Poll *self, PyObject *const *args, Py_ssize_t given, PyObject *keywords)
{
    static const char *const names[] = {"most", NULL};
    struct epoll_event events[MOST_POLLED];
    PyObject *number = NULL;
    if (arguments(args, given, keywords, names, &number) < 0) {
        return NULL;
    }
    Py_ssize_t most = 256;
    if (number != NULL && as_size(number, &most) < 0) {
        return NULL;
    }
    if (most < 1) {
        PyErr_SetString(PyExc_ValueError, "at least one has to be asked for");
        return NULL;
    }
    if (check_open(self) < 0) {
        return NULL;
    }
    int count = epoll_wait(self->epoll, events, most < MOST_POLLED ? (int)most : MOST_POLLED, 0);
    if (count < 0 && errno != EINTR) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < count; i++) {
        if (poll_one(self, events[i].data.fd, events[i].events, list) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyMethodDef poll_methods[] = {
    {"fileno", (PyCFunction)(void (*)(void))poll_fileno, METH_NOARGS, NULL},
    {"close", (PyCFunction)(void (*)(void))poll_close, METH_NOARGS, NULL},
    {"add", (PyCFunction)(void (*)(void))poll_add, METH_VARARGS | METH_KEYWORDS, NULL},
    {"remove", (PyCFunction)(void (*)(void))poll_remove, METH_O, NULL},
    {"poll", (PyCFunction)(void (*)(void))poll_poll, METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject PollType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "realtime_svc.transports._kernel.Poll",
    .tp_doc = "An epoll set of its own: what can be read, level-triggered.",
    .tp_basicsize = sizeof(Poll),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = poll_new,
    .tp_dealloc = (destructor)poll_dealloc,
    .tp_traverse = (traverseproc)poll_traverse,
    .tp_clear = (inquiry)poll_clear,
    .tp_methods = poll_methods,
};

/* ---- Frames */

static int
continues(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

/* How many octets the UTF-8 character at `s` has, which is no ASCII; 0: it is none (RFC 3629 4). */
static size_t
character(const unsigned char *s, size_t left)
{
    unsigned char first = s[0];
    if (left >= 2 && first >= 0xC2 && first <= 0xDF) {
        return continues(s[1]) ? 2 : 0;
    }
    if (left >= 3 && (first & 0xF0) == 0xE0) {
        unsigned char least = first == 0xE0 ? 0xA0 : 0x80, most = first == 0xED ? 0x9F : 0xBF;
        return s[1] >= least && s[1] <= most && continues(s[2]) ? 3 : 0;
    }
    if (left >= 4 && first >= 0xF0 && first <= 0xF4) {
        unsigned char least = first == 0xF0 ? 0x90 : 0x80, most = first == 0xF4 ? 0x8F : 0xBF;
        return s[1] >= least && s[1] <= most && continues(s[2]) && continues(s[3]) ? 4 : 0;
    }
    return 0;
}

static int
is_utf8(const unsigned char *s, size_t size)
{
    size_t i = 0;
    while (i < size) {
        uint64_t eight;
        if (size - i >= sizeof(eight)) {
            memcpy(&eight, s + i, sizeof(eight));
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                i += sizeof(eight);
                continue;
            }
        }
        size_t step = s[i] < 0x80 ? 1 : character(s + i, size - i);
        if (step == 0) {
            return 0;
        }
        i += step;
    }
    return 1;
}

/* RFC 6455 5.3 */
static void
unmask(unsigned char *to, const unsigned char *from, size_t size, const unsigned char *mask)
{
    unsigned char twice[8];
    uint64_t key, eight;
    memcpy(twice, mask, 4);
    memcpy(twice + 4, mask, 4);
    memcpy(&key, twice, sizeof(key));
    size_t i = 0;
    for (; size - i >= sizeof(eight); i += sizeof(eight)) {
        memcpy(&eight, from + i, sizeof(eight));
        eight ^= key;
        memcpy(to + i, &eight, sizeof(eight));
    }
    for (; i < size; i++) {
        to[i] = from[i] ^ mask[i % 4];
    }
}

/* The length at `at[1]`, of `left` octets in all, and how many octets stand before the mask. -1: not whole, or not in
 * its shortest form. */
static int64_t
payload_length(const unsigned char *at, Py_ssize_t left, Py_ssize_t *before)
{
    unsigned char first = at[1] & 0x7F;
    int size = first == 126 ? 2 : first == 127 ? 8 : 0;
    *before = 2 + size;
    if (size == 0) {
        return first;
    }
    if (left < *before) {
        return -1;
    }
    uint64_t length = 0;
    for (int i = 0; i < size; i++) {
        length = length << 8 | at[2 + i];
    }
    if (length < (size == 2 ? 126u : 65536u) || length > INT64_MAX) {
        return -1;
    }
    return (int64_t)length;
}

/* The plain message at `at`: its payload, unmasked, and *used. NULL: there is none or it is not whole, unless there is
 * an exception. */
static PyObject *
plain_frame(const unsigned char *at, Py_ssize_t left, Py_ssize_t limit, Py_ssize_t *used)
{
    if (left < 6 || (at[0] != 0x81 && at[0] != 0x82) || !(at[1] & 0x80)) {
        return NULL;
    }
    Py_ssize_t before;
    int64_t length = payload_length(at, left, &before);
    if (length < 0 || length > limit || length > left - before - 4) {
        return NULL;
    }
    PyObject *payload = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (payload == NULL) {
        return NULL;
    }
    unsigned char *to = (unsigned char *)PyBytes_AS_STRING(payload);
    if (length > 0) { /* the empty one is shared */
        unmask(to, at + before + 4, (size_t)length, at + before);
    }
    if (at[0] == 0x81 && !is_utf8(to, (size_t)length)) {
        Py_DECREF(payload);
        return NULL;
    }
    *used = before + 4 + (Py_ssize_t)length;
    return payload;
}

static PyObject *
parse_frames(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "data and a limit are needed");
        return NULL;
    }
    PyObject *data = args[0];
    Py_ssize_t limit;
    if (check_bytes(data) < 0 || as_size(args[1], &limit) < 0) {
        return NULL;
    }
    PyObject *found = PyList_New(0);
    if (found == NULL) {
        return NULL;
    }
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(data);
    Py_ssize_t used = 0, of_one, size = PyBytes_GET_SIZE(data);
    PyObject *payload;
    while ((payload = plain_frame(bytes + used, size - used, limit, &of_one)) != NULL) {
        PyObject *pair = PyTuple_Pack(2, payload, bytes[used] == 0x82 ? Py_True : Py_False);
        Py_DECREF(payload);
        int failed = pair == NULL || PyList_Append(found, pair) < 0;
        Py_XDECREF(pair);
        if (failed) {
            break;
        }
        used += of_one;
    }
    if (PyErr_Occurred()) {
        Py_DECREF(found);
        return NULL;
    }
    PyObject *end = PyLong_FromSsize_t(used);
    PyObject *result = end == NULL ? NULL : PyTuple_Pack(2, found, end);
    Py_XDECREF(end);
    Py_DECREF(found);
    return result;
}

/* ---- The module */

static PyMethodDef functions[] = {
    {"parse_frames", (PyCFunction)(void (*)(void))parse_frames, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_kernel",
    .m_doc = "The short way between many sockets and Python, compiled; kernel_twin.py describes it.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__kernel(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) {
        return NULL;
    }
    if (PyModule_AddType(module, &OutletType) < 0 || PyModule_AddType(module, &GroupType) < 0
        || PyModule_AddType(module, &PollType) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
