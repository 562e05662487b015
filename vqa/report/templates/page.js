"use strict";
// Filters and tags of the gallery. Texts from the data are only ever read and compared, never made into markup.
// Cards are shown a batch at a time, the next one before the reader gets there: ten thousand at once would
// take the browser seconds to lay out.
(function () {
  var cards = Array.from(document.querySelectorAll(".gallery article"));
  var tools = document.querySelector(".tools");
  if (!tools) { return; }
  tools.hidden = false;
  var byName = {};
  tools.querySelectorAll("[data-tool]").forEach(function (item) { byName[item.dataset.tool] = item; });
  var storageKey = "vqa-report:" + document.body.dataset.key;
  var texts = new Map();
  var inputs = new Map(cards.map(function (card) { return [card, card.querySelector(".tags")]; }));
  var more = document.querySelector(".more");
  var batch = Number(more.dataset.batch);
  var waitingCards = [];

  function tagsOf(card) {
    var names = inputs.get(card).value.split(",").map(function (name) { return name.trim(); });
    return names.filter(function (name, index) { return name && names.indexOf(name) === index; });
  }

  function textOf(card) {
    if (!texts.has(card)) { texts.set(card, card.textContent.toLowerCase()); }
    return texts.get(card) + "\n" + inputs.get(card).value.toLowerCase();
  }

  function filter() {
    var type = byName.type.value, tag = byName.tag.value;
    var words = byName.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    waitingCards = cards.filter(function (card) {
      var fits = (type === "" || card.dataset.type === type) && (tag === "" || tagsOf(card).includes(tag));
      if (fits && words.length) {
        var text = textOf(card);
        fits = words.every(function (word) { return text.includes(word); });
      }
      return fits;
    });
    byName.count.textContent = waitingCards.length + " of " + cards.length;
    cards.forEach(function (card) { if (!card.hidden) { card.hidden = true; } });
    reveal();
  }

  function reveal() {
    waitingCards.splice(0, batch).forEach(function (card) { card.hidden = false; });
    more.hidden = waitingCards.length === 0;
  }

  function fill(select, all, counts) {
    var chosen = select.value;
    select.replaceChildren(new Option(all, ""));
    Array.from(counts.keys()).sort().forEach(function (name) {
      select.add(new Option(name + " (" + counts.get(name) + ")", name));
    });
    select.value = counts.has(chosen) ? chosen : "";
  }

  function count(namesOf) {
    var counts = new Map();
    cards.forEach(function (card) {
      namesOf(card).forEach(function (name) { counts.set(name, (counts.get(name) || 0) + 1); });
    });
    return counts;
  }

  function mark(input) { input.classList.toggle("edited", input.value !== input.defaultValue); }

  // {id: [tag, ...]}; all of them for a file, the edited ones for the browser's own memory.
  function collect(editedOnly) {
    var found = [];
    cards.forEach(function (card) {
      var input = inputs.get(card);
      if (!editedOnly || input.value !== input.defaultValue) { found.push([card.dataset.id, tagsOf(card)]); }
    });
    return Object.fromEntries(found);
  }

  function apply(tags) {
    var byId = new Map(Object.entries(tags));
    var applied = 0;
    cards.forEach(function (card) {
      var names = byId.get(card.dataset.id);
      if (Array.isArray(names) && names.every(function (name) { return typeof name === "string"; })) {
        var input = inputs.get(card);
        input.value = names.join(", ");
        mark(input);
        applied += 1;
      }
    });
    return applied;
  }

  function remember() {
    // A browser may forbid storage for files; the tags then last as long as the page.
    try { localStorage.setItem(storageKey, JSON.stringify(collect(true))); } catch (error) { return; }
  }

  function changed() {
    remember();
    fill(byName.tag, "all tags", count(tagsOf));
    filter();
  }

  function exportTags() {
    var page = { report: document.body.dataset.key, title: document.title, tags: collect(false) };
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(page, null, 2) + "\n"], { type: "application/json" }));
    link.download = "tags.json";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  function importTags() {
    var file = byName.file.files[0];
    if (!file) { return; }
    file.text().then(JSON.parse).then(function (page) {
      var applied = apply(page.tags);
      changed();
      byName.said.textContent = "tags of " + applied + " records read";
    }).catch(function () { byName.said.textContent = "not a file of tags"; });
    byName.file.value = "";
  }

  var waiting = 0;
  byName.text.addEventListener("input", function () {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 150);
  });
  more.addEventListener("click", reveal);
  new IntersectionObserver(function (entries) {
    if (entries[0].isIntersecting) { reveal(); }
  }, { rootMargin: "1500px" }).observe(more);
  byName.type.addEventListener("change", filter);
  byName.tag.addEventListener("change", filter);
  byName.export.addEventListener("click", exportTags);
  byName.import.addEventListener("click", function () { byName.file.click(); });
  byName.file.addEventListener("change", importTags);
  document.querySelector(".gallery").addEventListener("change", function (event) {
    if (event.target.matches(".tags")) {
      mark(event.target);
      changed();
    }
  });
  try { apply(JSON.parse(localStorage.getItem(storageKey) || "{}")); } catch (error) { byName.said.textContent = ""; }
  fill(byName.type, "all types", count(function (card) { return [card.dataset.type]; }));
  fill(byName.tag, "all tags", count(tagsOf));
  filter();
})();
