/* What fake_driver.c takes from the do-nothing CUDA runtime, for tests that have no runtime at all. */
static long waits, next = 0x100000, enqueued, launches;
void *fake_cuda_new_stream(void) { return (void *)(next += 16); }
void fake_cuda_note_enqueued(const void *stream) { (void)stream; enqueued++; }
void fake_cuda_count_launch(const void *stream) { launches++; fake_cuda_note_enqueued(stream); }
void fake_cuda_note_copy(int kind, const void *stream) { (void)kind; fake_cuda_note_enqueued(stream); }
void fake_cuda_note_wait(const void *stream) { (void)stream; waits++; }
long fake_cuda_waits(void) { return waits; }
unsigned long fake_cuda_free_bytes(void) { return 1ul << 36; }
