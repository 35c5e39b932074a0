"use strict";
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#routes", deepLinking: true });
