/* A libnvidia-ml.so.1 that replays what a file says, for tests. Each line of STUB_FILE:
 *
 *   devices N                       how many GPUs there are (0: none; -1: no driver)
 *   INDEX temperature N             degrees
 *   INDEX memory USED TOTAL         bytes
 *   INDEX busy N                    percent
 *   INDEX ecc N                     uncorrected memory errors; -1: not supported
 *   INDEX slowed N                  bits of nvmlClocksThrottleReasons
 *   INDEX pid N                     a process that uses it
 *   INDEX lost 1                    it has fallen off the bus
 *   INDEX xid N COUNT               the COUNTth Xid, counted from 1 over all of them
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, SMALL = 7, NO_DRIVER = 9,
       TIMEOUT = 10, LOST = 15 };

typedef struct { void *device; unsigned long long type, data; unsigned gpu, compute; } event_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_t;
typedef struct { unsigned gpu, memory; } use_t;
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu, compute; } process_t;

static long delivered = 0;

static int index_of(void *device) { return (int)(long)device - 1; }

/* The first line for an index (-1: none) with this key; how many numbers followed. */
static int find(int index, const char *key, int nth, long long *a, long long *b) {
  char line[256], name[64];
  int found = 0;
  FILE *file = fopen(STUB_FILE, "r");
  if (!file) return 0;
  while (!found && fgets(line, sizeof line, file)) {
    int of = -1, n;
    *a = *b = 0;
    n = index < 0 ? sscanf(line, "%63s %lld", name, a)
                  : sscanf(line, "%d %63s %lld %lld", &of, name, a, b) - 1;
    if (n >= 2 && of == index && strcmp(name, key) == 0 && nth-- == 0) found = n - 1;
  }
  fclose(file);
  return found;
}

static int lost(void *device) {
  long long a, b;
  return find(index_of(device), "lost", 0, &a, &b) && a;
}

#define ALIVE(device) do { if (lost(device)) return LOST; } while (0)

int nvmlInit_v2(void) {
  long long n, b;
  return find(-1, "devices", 0, &n, &b) && n >= 0 ? OK : NO_DRIVER;
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "stub"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
  long long n, b;
  if (!find(-1, "devices", 0, &n, &b)) return NO_DRIVER;
  *count = (unsigned)n;
  return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  *device = (void *)(long)(index + 1);
  return OK;
}
int nvmlDeviceGetIndex(void *device, unsigned *index) {
  *index = (unsigned)index_of(device);
  return OK;
}
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
  snprintf(uuid, length, "GPU-stub-%d", index_of(device));
  return OK;
}
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
  long long n, b;
  (void)sensor;
  ALIVE(device);
  if (!find(index_of(device), "temperature", 0, &n, &b)) return UNSUPPORTED;
  *celsius = (unsigned)n;
  return OK;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, memory_t *memory) {
  long long used, total;
  ALIVE(device);
  if (find(index_of(device), "memory", 0, &used, &total) < 2) return UNSUPPORTED;
  memory->total = (unsigned long long)total;
  memory->used = (unsigned long long)used;
  memory->free = (unsigned long long)(total - used);
  memory->reserved = 0;
  return OK;
}
int nvmlDeviceGetUtilizationRates(void *device, use_t *use) {
  long long n, b;
  ALIVE(device);
  if (!find(index_of(device), "busy", 0, &n, &b)) return UNSUPPORTED;
  use->gpu = (unsigned)n;
  use->memory = 0;
  return OK;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) {
  long long n, b;
  ALIVE(device);
  *reasons = find(index_of(device), "slowed", 0, &n, &b) ? (unsigned long long)n : 0;
  return OK;
}
int nvmlDeviceGetTotalEccErrors(void *device, int kind, int counter, unsigned long long *errors) {
  long long n, b;
  (void)kind, (void)counter;
  ALIVE(device);
  if (!find(index_of(device), "ecc", 0, &n, &b) || n < 0) return UNSUPPORTED;
  *errors = (unsigned long long)n;
  return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process_t *all) {
  long long n, b;
  unsigned found = 0;
  ALIVE(device);
  while (find(index_of(device), "pid", (int)found, &n, &b)) {
    if (all && found < *count) {
      memset(&all[found], 0, sizeof *all);
      all[found].pid = (unsigned)n;
    }
    found++;
  }
  int small = found > *count || (!all && found);
  *count = found;
  return small ? SMALL : OK;
}

int nvmlEventSetCreate(void **set) { *set = malloc(1); return OK; }
int nvmlEventSetFree(void *set) { free(set); return OK; }
int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set) {
  (void)types, (void)set;
  ALIVE(device);
  return OK;
}
int nvmlEventSetWait_v2(void *set, event_t *event, unsigned milliseconds) {
  (void)set;
  for (int index = 0; index < 8; index++) {
    long long code, count;
    for (int nth = 0; find(index, "xid", nth, &code, &count) == 2; nth++) {
      if (count != delivered + 1) continue;
      delivered = count;
      memset(event, 0, sizeof *event);
      event->device = (void *)(long)(index + 1);
      event->type = 8; /* nvmlEventTypeXidCriticalError */
      event->data = (unsigned long long)code;
      return OK;
    }
  }
  usleep(milliseconds * 1000);
  return TIMEOUT;
}
