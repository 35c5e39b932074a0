"use strict";
const form = document.getElementById("filter");
if (form) {
  const cards = [...document.querySelectorAll("article.example")];
  const { group, outcome, words, count } = form.elements;
  const show = () => {
    const wanted = words.value.trim().toLowerCase();
    let shown = 0;
    for (const card of cards) {
      const fits =
        (!group.value || card.dataset.group === group.value) &&
        (!outcome.value || card.dataset.tags.split(" ").includes(outcome.value)) &&
        (!wanted || card.textContent.toLowerCase().includes(wanted));
      card.hidden = !fits;
      shown += fits;
    }
    count.value = shown === cards.length ? `all ${shown}` : `${shown} of ${cards.length}`;
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
}
