// A button beside each text that is made to be copied. Inside the VPN it is HTTP, where browsers have no
// navigator.clipboard: the text is selected and copied the old way.

for (const text of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Copy";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  said.className = "note";
  button.addEventListener("click", () => {
    window.getSelection().selectAllChildren(text);
    said.textContent = document.execCommand("copy") ? "Copied" : "It is selected: press Ctrl and C";
  });
  const line = document.createElement("p");
  line.className = "row";
  line.append(button, said);
  text.after(line);
}
