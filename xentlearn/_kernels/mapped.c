/* Mapped files that may shrink while they are read.
 *
 * X on disk is read from the page cache through a mapping, since a copy by read() would take as
 * long as the pass itself. But if a file is truncated (or its disk fails) while it is mapped, its
 * pages disappear from the mapping, and the next access to one of them raises SIGBUS. By default
 * that kills the process, without an error message and with everything else in the user's session.
 *
 * Therefore a block of rows is guarded while it is used. `xent_guard` records its range of
 * addresses and makes sure that our handler of SIGBUS is installed. An access to a missing page
 * then calls the handler. If the address is in a guarded range, the handler maps zeros over the
 * rest of that range and returns, and the instruction that failed succeeds when it is repeated. The
 * pass continues, but its sums are meaningless; `xent_unguard` reports that, and the caller raises
 * an error instead of using them. Nothing has to be undone: there is no jump out of other stack
 * frames, no lock remains held, and the threads of OpenMP reach their barrier.
 *
 * Restrictions on the handler. It runs in the thread that accessed the page, possibly in several
 * threads at once, between any two instructions. It takes no lock, allocates nothing, and calls
 * only mmap, which is not on POSIX's list of async-signal-safe functions, but is a bare system call
 * on every system for which this is compiled. It reads an array of fixed size with atomic fields.
 * If two threads find missing pages in the same range, zeros are mapped twice, which does no harm.
 * All guarded ranges that overlap the zeros are marked before these are mapped, since another fit
 * on the same file then reads zeros without a signal of its own. A range that is guarded later is
 * not marked; its reader finds that the file has another size.
 *
 * The handler is installed with the first range and removed with the last. Signals that do not
 * concern a guarded range are passed on to the handler that was installed before. If another
 * handler has been installed on top in the meantime, both are left in place, since that one may
 * call ours.
 *
 * If a file ends within a page, the rest of that page reads as zeros without a signal. The caller
 * has to detect that by the size of the file, too.
 *
 * Windows does not allow a mapped file to be truncated; there is nothing to guard, and NumPy maps
 * files. */
#include "mapped.h"

#ifdef _WIN32

void *xent_map(int fd, size_t n_bytes) { (void)fd, (void)n_bytes; return NULL; }
void xent_unmap(void *begin, size_t n_bytes) { (void)begin, (void)n_bytes; }
void xent_read_ahead(const void *begin, size_t n_bytes) { (void)begin, (void)n_bytes; }
int xent_unguard(int number) { (void)number; return 0; }

int xent_guard(const void *begin, size_t n_bytes, int writable)
{
    (void)begin, (void)n_bytes, (void)writable;
    return 0;
}

#else

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

enum { MOST_RANGES = 1024 }; /* each fit that runs at the same time needs two */

struct range {
    uintptr_t begin, end; /* whole pages */
    int writable;
    int used, lost; /* atomic */
};

static struct range ranges[MOST_RANGES];
static uintptr_t page_size;

/* Held while a range is guarded or unguarded; the handler never takes it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int n_used, installed;
static struct sigaction previous;

static int zeros_from(uintptr_t address)
{
    uintptr_t begin = address & ~(page_size - 1), end = 0;
    int writable = 0;
    for (int i = 0; i < MOST_RANGES; ++i) {
        const struct range *range = &ranges[i];
        if (__atomic_load_n(&range->used, __ATOMIC_ACQUIRE) && range->begin <= address &&
            address < range->end) {
            end = range->end;
            writable = range->writable;
            break;
        }
    }
    if (end == 0)
        return 0;
    for (int i = 0; i < MOST_RANGES; ++i) {
        struct range *range = &ranges[i];
        if (__atomic_load_n(&range->used, __ATOMIC_ACQUIRE) && range->begin < end &&
            begin < range->end)
            __atomic_store_n(&range->lost, 1, __ATOMIC_RELEASE);
    }
    int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
    return mmap((void *)begin, end - begin, protection, flags, -1, 0) != MAP_FAILED;
}

/* Do what would have happened without our handler. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler == SIG_IGN && info->si_code <= 0) {
        return;
    } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
        /* a fault recurs when the handler returns, but a signal that was sent must be sent again */
        signal(number, SIG_DFL);
        if (info->si_code <= 0)
            raise(number);
    } else {
        previous.sa_handler(number);
    }
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    int error = errno;
    int is_fault = info->si_code > 0; /* otherwise it was sent, and has no address */
    if (!(is_fault && zeros_from((uintptr_t)info->si_addr)))
        pass_on(number, info, context);
    errno = error;
}

static int is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_bus_error;
}

int xent_guard(const void *begin, size_t n_bytes, int writable)
{
    int number = -1;
    pthread_mutex_lock(&lock);
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < MOST_RANGES && number < 0; ++i)
        if (!ranges[i].used)
            number = i;
    if (number >= 0) {
        struct range *range = &ranges[number];
        range->begin = (uintptr_t)begin & ~(page_size - 1);
        range->end = ((uintptr_t)begin + n_bytes + page_size - 1) & ~(page_size - 1);
        range->writable = writable;
        __atomic_store_n(&range->lost, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&range->used, 1, __ATOMIC_RELEASE);
        ++n_used;
        if (!installed) {
            struct sigaction action = {0};
            action.sa_sigaction = on_bus_error;
            action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
            sigemptyset(&action.sa_mask);
            sigaction(SIGBUS, NULL, &previous);
            installed = sigaction(SIGBUS, &action, NULL) == 0;
        }
    }
    pthread_mutex_unlock(&lock);
    return number;
}

int xent_unguard(int number)
{
    pthread_mutex_lock(&lock);
    struct range *range = &ranges[number];
    __atomic_store_n(&range->used, 0, __ATOMIC_RELEASE);
    int lost = __atomic_load_n(&range->lost, __ATOMIC_ACQUIRE);
    if (--n_used == 0 && installed) {
        struct sigaction current;
        sigaction(SIGBUS, NULL, &current);
        if (is_ours(&current)) {
            sigaction(SIGBUS, &previous, NULL);
            installed = 0;
        }
    }
    pthread_mutex_unlock(&lock);
    return lost;
}

void *xent_map(int fd, size_t n_bytes)
{
    void *begin = mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, fd, 0);
    return begin == MAP_FAILED ? NULL : begin;
}

void xent_unmap(void *begin, size_t n_bytes) { munmap(begin, n_bytes); }

void xent_read_ahead(const void *begin, size_t n_bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)begin & ~(page - 1);
    /* advice only: otherwise pages are read when they are accessed */
    (void)madvise((void *)first, (uintptr_t)begin + n_bytes - first, MADV_WILLNEED);
}

#endif
