// Waiting for things that must happen. A deadline here is not a test's
// timing: it only turns "never" into a message.

export const patience = 15_000; // ms, generous: the machine may be busy

export async function within(promise, what, ms = patience) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// until asks again and again, for what announces itself by no event.
export async function until(ask, what, ms = patience) {
  for (const end = Date.now() + ms; ; ) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain for ${what}`);
    await pause(50);
  }
}

// A Queue hands what is put into it to whoever asks, in order. Once ended it
// refuses whoever still asks.
export class Queue {
  #items = [];
  #askers = [];
  #end;

  put(item) {
    const asker = this.#askers.shift();
    if (asker) asker.resolve(item);
    else this.#items.push(item);
  }

  end(error) {
    this.#end ??= error;
    for (const asker of this.#askers.splice(0)) asker.reject(this.#end);
  }

  get length() {
    return this.#items.length;
  }

  next(what = "the next item") {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    if (this.#end) return Promise.reject(this.#end);
    return within(new Promise((resolve, reject) => this.#askers.push({ resolve, reject })), what);
  }
}
