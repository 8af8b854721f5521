/** The buttons that pause, resume, cancel and retry a run: forms, sent without leaving the page. */

export class Controls {
  #root;
  #onDone;

  /**
   * @param {Element} root of the page
   * @param {() => void} onDone something was asked of the run
   */
  constructor(root, onDone) {
    this.#root = root;
    this.#onDone = onDone;
    root.querySelector("[data-controls]")?.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(event.target, event.submitter);
    });
  }

  /** Show what makes sense for a run of this status. */
  show(status) {
    for (const form of this.#root.querySelectorAll("[data-when]")) {
      form.hidden = !form.dataset.when.split(" ").includes(status);
    }
  }

  async #send(form, submitter) {
    this.#refuse("");
    submitter.disabled = true;
    try {
      const body = new URLSearchParams(new FormData(form));
      if (submitter.name) body.set(submitter.name, submitter.value);
      const headers = { Accept: "application/json" };
      const response = await fetch(form.action, { method: "POST", body, headers, credentials: "same-origin" });
      await this.#read(response, form);
    } catch (problem) {
      this.#refuse(`The server could not be reached: ${problem.message}. Check your connection, then try again.`);
    } finally {
      submitter.disabled = false;
    }
  }

  async #read(response, form) {
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
    const answer = isJson ? await response.json() : null;
    if (!response.ok || answer === null) {
      this.#refuse(answer ? `${answer.detail} ${answer.hint ?? ""}` : withoutJson(response));
    } else if (new URL(answer.url, location.href).pathname !== location.pathname) {
      location.assign(answer.url);
    } else {
      this.#onDone(form);
    }
  }

  #refuse(text) {
    const notice = this.#root.querySelector("[data-refusal]");
    notice.hidden = text === "";
    notice.textContent = text;
  }
}

function withoutJson(response) {
  if (response.redirected) return "You may have been logged out: reload the page.";
  return `The server answered ${response.status}. Reload the page, then try again.`;
}
