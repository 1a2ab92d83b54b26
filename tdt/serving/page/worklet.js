// Gathers what the microphone gives into blocks and posts them: mono float32, of the size it was told.

class Gatherer extends AudioWorkletProcessor {
  constructor(options) {
    super();
    this.size = options.processorOptions.size;
    this.block = new Float32Array(this.size);
    this.filled = 0;
    this.open = true;
    this.port.onmessage = () => { // told to stop: what is gathered is the last block
      this.open = false;
      this.port.postMessage({ samples: this.block.slice(0, this.filled), last: true });
    };
  }

  process(inputs) {
    const channels = inputs[0];
    const count = channels.length ? channels[0].length : 0;
    for (let at = 0; at < count && this.open; at += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[at];
      this.block[this.filled] = sum / channels.length;
      this.filled += 1;
      if (this.filled === this.size) {
        const samples = this.block;
        this.port.postMessage({ samples, last: false }, [samples.buffer]);
        this.block = new Float32Array(this.size);
        this.filled = 0;
      }
    }
    return this.open;
  }
}

registerProcessor("gatherer", Gatherer);
